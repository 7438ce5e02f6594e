// A backward call: `call` as the forward pass had it, its `out` and `lse` as the forward pass left them. Strides are in elements.
struct lacuna_backward_args {
  lacuna_args call;
  const void *grad_out, *grad_lse;  // grad_lse may be null
  int64_t grad_out_strides[3], grad_lse_strides[3];
  void *delta;                      // room for one real per row, laid out as `lse`
  void *grad_q, *grad_k, *grad_v;   // reals; rows are padded to whole vectors
  int64_t grad_q_strides[3], grad_k_strides[3], grad_v_strides[3];
  double *const *grad_tables;       // of each look-up whose gradient is wanted: [slots, entries], zero before the call
  const int64_t *grad_entries;      // entries of its table
  int64_t slots;                    // steps that share a slot run one after another
  int64_t groups;                   // runs of key tiles, and as many of query tiles
  int64_t *progress;                // zeros, one for each (plane, group) and each slot
  int64_t blank;                    // grad_q, grad_k and grad_v hold anything up to q_len and k_len; 0: they are zero before the call
};
