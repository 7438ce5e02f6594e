// What rows see beside the pattern. Strides are in elements.
struct lacuna_beside_args : lacuna_args {
  const void *zero_keys;   // reals: how many keys of score 0 and value 0 each row sees
  int64_t zero_strides[3];  // of (b, h, token)
};
