// The call, as ctypes or C hands it over. Strides and sizes are in elements.
struct lacuna_args {
  const void *q, *k, *v;
  void *out, *lse;  // lse may be null; it holds float, or double where the tensors do
  int64_t batch, heads, kv_heads, kv_batch;
  int64_t q_len, k_len;
  int64_t q_strides[3], k_strides[3], v_strides[3], out_strides[3], lse_strides[3];  // of (b, h, token)
  const int64_t *q_start, *q_lens, *k_start, *k_lens, *offsets;  // [batch] or null
  int64_t offset;
  double scale;
  const int64_t *integers;
  const double *reals;
  const void *const *tables;
  const int64_t *table_strides, *table_sizes;
  int64_t threads;
  int64_t narrow;  // every integer of mask, score and schedule is proved to fit int32_t
};
