// Where the zero keys of rows of one (b, h) are counted; packed sequences have no batch axis but a first token each.
struct zero_counts {
  const real *first;
  int64_t stride;
  real operator()(int64_t token) const { return first[token * stride]; }
};

zero_counts zero_counts_of(const lacuna_args &a, int64_t b, int64_t h) {
  const lacuna_beside_args &more = static_cast<const lacuna_beside_args &>(a);
  const int64_t *strides = more.zero_strides;
  return {static_cast<const real *>(more.zero_keys) + (a.q_start ? a.q_start[b] * strides[2] : b * strides[0]) + h * strides[1], strides[2]};
}

// Keys of score 0 and value 0 add to a row's sum of weights alone. Returns by how much what was summed before shrinks: nothing is ever
// relative to less than their score, so that no weight overflows.
inline real with_zero_keys(real count, real &top, real &sum) {
  if (count <= 0) return real(1);
  const real above = larger(top, real(0)), scale = exponential(top - above);
  sum = sum * scale + count * exponential(-above);
  top = above;
  return scale;
}
