// Their tokens lie as they are counted, whatever the order of the others.
struct extra_rows {
  int64_t first;
  int64_t operator()(int64_t r) const { return first + r; }
};

// A tile of queries attends to every extra key: no mask, no score but the product.
void attend_extra(workspace &w, const extra_planes from) {
  for (int64_t first = 0; first < from.count; first += BK) {
    const int64_t keys = smaller(BK, from.count - first);
    int64_t key_stride = from.key_stride;
    const tile_values<extra_rows> values = tile_values_of(w, from.value, from.value_stride, extra_rows{first}, keys);
    const auto *key = keys_of(from.key, key_stride, extra_rows{first}, keys, w.key);
    const part of = {0, keys, 0};
    multiply<BQ>(w, key, key_stride, of);
    absorb<BQ>(w, values, of);
  }
}
