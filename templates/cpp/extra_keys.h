// The extra keys and values of one (b, key head).
struct extra_planes {
  const stored *key, *value;
  int64_t key_stride, value_stride, count;
};

extra_planes extra_planes_of(const lacuna_args &a, int64_t b, int64_t shared) {
  const lacuna_beside_args &more = static_cast<const lacuna_beside_args &>(a);
  const int64_t *key = more.extra_k_strides, *value = more.extra_v_strides;
  return {static_cast<const stored *>(more.extra_k) + b * key[0] + shared * key[1],
          static_cast<const stored *>(more.extra_v) + b * value[0] + shared * value[1], key[2], value[2], more.extra_len};
}
