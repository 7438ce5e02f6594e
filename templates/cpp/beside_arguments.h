// What rows see beside the pattern. Strides are in elements, 0 along what goes for all.
struct lacuna_beside_args : lacuna_args {
  const void *zero_keys;    // reals: how many keys of score 0 and value 0 each row sees; null where the kernel counts none
  int64_t zero_strides[3];  // of (b, h, token)
  const void *extra_k, *extra_v;  // keys and values that every row sees, of (b, key head, token); null likewise
  int64_t extra_len;
  int64_t extra_k_strides[3], extra_v_strides[3];
};
