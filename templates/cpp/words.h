typedef real vec __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));

// Products multiply words: single numbers, or two neighbours of bfloat16 where the processor adds both their products at once.
constexpr int64_t EACH = PAIRS ? 2 : 1;
using word = std::conditional<PAIRS, uint32_t, real>::type;

template <typename W>
inline vec sum_with(vec sum, const W *b, W a) {
  if constexpr (std::is_same<W, real>::value) return sum + *(const vec *)b * a;
#ifdef __AVX512BF16__
  else return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(b), (__m512bh)_mm512_set1_epi32(int32_t(a)));
#endif
}

// The word that begins with number `a` of a row; the second number is `b`, or 0 where b is null.
inline word word_of(const stored *a, const stored *b) {
  if constexpr (PAIRS) {
    uint16_t low, high = 0;
    std::memcpy(&low, a, sizeof low);
    if (b) std::memcpy(&high, b, sizeof high);
    return word(uint32_t(high) << 16 | low);
  } else return word(widened(*a));
}

// Rows as words down them: word [r][d] holds number d of rows EACH * r and on; what is past `width` is 0.
template <int64_t width, int64_t padded>
[[gnu::noinline]] void lay_down(const stored *from, int64_t stride, int64_t rows, word *to) {
  for (int64_t r = 0; r < rows; r += EACH, to += padded) {
    const stored *row = from + r * stride;
    if (r + 1 < rows)
      for (int64_t d = 0; d < width; ++d) to[d] = word_of(row + d, row + stride + d);
    else
      for (int64_t d = 0; d < width; ++d) to[d] = word_of(row + d, nullptr);
    for (int64_t d = width; d < padded; ++d) to[d] = 0;
  }
}

#ifdef __AVX512BF16__
// Sixteen reals as bfloat16, and two such rows as words.
inline __m256bh rounded(const void *from) { return _mm512_cvtneps_pbh(_mm512_loadu_ps(from)); }
inline __m512i paired(__m256bh low, __m256bh high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32((__m256i)low), _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)high), 16));
}
#endif

// Numbers as words: themselves, or what they were packed into.
template <typename W, typename T>
inline const W *words_of(const W *packed, const T *numbers) {
  if constexpr (std::is_same<W, T>::value) return numbers;
  else return packed;
}
