// The rows of an item attend to every extra key: no mask, no score but the product.
void attend_extra(workspace &w, const item &it, const partial &to, const extra_planes from) {
  const int64_t rows = it.heads * it.count;
  for (int64_t first = 0; first < from.count; first += BK) {
    const int64_t keys = smaller(BK, from.count - first);
    const stored *key = from.key + first * from.key_stride, *value = from.value + first * from.value_stride;
    multiply_rows<KEY_LANES < 4 ? KEY_LANES : 4>(rows, w.query, key, from.key_stride, keys, w.score, {value, from.value_stride, keys});
    absorb(w, rows, value, from.value_stride, keys, to, {nullptr, 0, 0});
  }
}
