void count_zero_keys(workspace &w, const query_rows at, int64_t count, const zero_counts counts) {
  alignas(64) real scale[BQ];
  bool moved = false;
  for (int64_t r = 0; r < BQ; ++r) {
    const int64_t token = r < count ? at(r) : -1;
    scale[r] = token < 0 ? real(1) : with_zero_keys(counts(token), w.top[r], w.sum[r]);
    moved |= scale[r] != 1;
  }
  if (!moved) return;
  for (int64_t d = 0; d < DV; ++d)
    for (int64_t r = 0; r < BQ; ++r) w.out[d * BQ + r] *= scale[r];
}
