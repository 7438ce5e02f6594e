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

// The word of `a` and of `b`, which only a word of two numbers has; or of `a` and 0.
inline word word_of(const stored *a, const stored *b) {
  if constexpr (PAIRS) {
    uint16_t low, high;
    std::memcpy(&low, a, sizeof low);
    std::memcpy(&high, b, sizeof high);
    return word(uint32_t(high) << 16 | low);
  } else return word(widened(*a));
}
inline word word_of(const stored *a) {
  if constexpr (PAIRS) {
    uint16_t low;
    std::memcpy(&low, a, sizeof low);
    return word(low);
  } else return word(widened(*a));
}

// 0 in place of a number that is not finite.
inline real finite_word(real a) { return is_finite(a) ? a : real(0); }
inline uint32_t finite_word(uint32_t a) {
  const uint32_t low = (a & 0x7f80u) == 0x7f80u ? 0u : a & 0xffffu, high = (a & 0x7f800000u) == 0x7f800000u ? 0u : a & 0xffff0000u;
  return low | high;
}

// `lines` of `width` words; the copies lie side by side, and may lie where the words do.
template <int64_t width>
[[gnu::noinline]] const word *finite_words(const word *from, int64_t stride, int64_t lines, word *to) {
  for (int64_t n = 0; n < lines; ++n)
    for (int64_t d = 0; d < width; ++d) to[n * width + d] = finite_word(from[n * stride + d]);
  return to;
}

// The token of row `r` of a tile whose first row has the position `first`; less than 0 where there is none.
struct query_rows {
  int64_t first;
  const place &sees;
  int64_t operator()(int64_t r) const { return query_token(first + r, sees); }
};
struct key_rows {
  int64_t first;
  const place &sees;
  int64_t operator()(int64_t r) const { return key_token(first + r, sees); }
};

// Where a token starts; what is no token is read as zeros.
constexpr stored NOTHING[D > DV ? D : DV] = {};  // as long as a row of either
inline const stored *row_of(const stored *from, int64_t token, int64_t stride) { return PADDED && token < 0 ? NOTHING : from + token * stride; }

// Rows as words down them: word [r][d] holds number d of rows EACH * r and on; what is past `width` is 0. Row r is token at(r) of `from`.
template <int64_t width, int64_t padded, typename At>
[[gnu::noinline]] void lay_down(const stored *from, int64_t stride, const At at, int64_t rows, word *to) {
  for (int64_t r = 0; r < rows; r += EACH, to += padded) {
    const stored *row = row_of(from, at(r), stride);
    if (const stored *next = row_of(from, at(r + 1), stride); r + 1 < rows)
      for (int64_t d = 0; d < width; ++d) to[d] = word_of(row + d, next + d);
    else
      for (int64_t d = 0; d < width; ++d) to[d] = word_of(row + d);
    for (int64_t d = width; d < padded; ++d) to[d] = 0;
  }
}

#ifdef __AVX512BF16__
// Sixteen reals as bfloat16, and two such rows as words.
inline __m256bh rounded(const void *from) { return _mm512_cvtneps_pbh(_mm512_loadu_ps(from)); }
inline __m512i paired(__m256bh low, __m256bh high) {
  typedef uint16_t halves __attribute__((vector_size(32)));
  typedef uint32_t wholes __attribute__((vector_size(64)));
  return (__m512i)(__builtin_convertvector((halves)low, wholes) | __builtin_convertvector((halves)high, wholes) << 16);
}
#endif

// Numbers as words: themselves, or what they were packed into.
template <typename W, typename T>
inline const W *words_of(const W *packed, const T *numbers) {
  if constexpr (std::is_same<W, T>::value) return numbers;
  else return packed;
}

// -- turning ----------------------------------------------------------------------------------------------------------

#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define TURNS_IN_REGISTERS
#endif
#endif
#ifdef TURNS_IN_REGISTERS
// Of the blocks of `step` by `step` in two groups of rows, the upper right one and the lower left one change places.
template <int step, typename V, int... j>
inline void exchange(V &upper, V &lower, std::integer_sequence<int, j...>) {
  const V left = __builtin_shufflevector(upper, lower, ((j & step) != 0 ? j - step + LANES : j)...);
  lower = __builtin_shufflevector(upper, lower, ((j & step) != 0 ? j + LANES : j + step)...);
  upper = left;
}
template <int step, typename V>
inline void exchange_all(V *rows) {
  if constexpr (step < LANES) {
#pragma GCC unroll 16
    for (int r = 0; r < LANES; ++r)
      if ((r & step) == 0) exchange<step>(rows[r], rows[r + step], std::make_integer_sequence<int, LANES>{});
    exchange_all<2 * step>(rows);
  }
}
#endif

// LANES rows of LANES numbers, the first at an address that vectors may have: rows become columns.
template <typename T>
[[gnu::noinline]] void turn(T *tile) {
#ifdef TURNS_IN_REGISTERS
  typedef T line __attribute__((vector_size(LANES * sizeof(T)), may_alias));
  line rows[LANES];
#pragma GCC unroll 16
  for (int r = 0; r < LANES; ++r) rows[r] = *(const line *)(tile + r * LANES);
  exchange_all<1>(rows);
#pragma GCC unroll 16
  for (int r = 0; r < LANES; ++r) *(line *)(tile + r * LANES) = rows[r];
#else
  for (int r = 0; r < LANES; ++r)
    for (int c = 0; c < r; ++c) std::swap(tile[r * LANES + c], tile[c * LANES + r]);
#endif
}

// Rows of `width` numbers as columns of words: word n of row r, token at(r) of `from`, comes to to[n * columns + r]. Rows from `rows` to
// `columns`, a number of whole vectors, are 0.
template <int64_t width, int64_t columns, typename At>
[[gnu::noinline]] void lay_across(const stored *from, int64_t stride, const At at, int64_t rows, word *to) {
  constexpr int64_t words = (width + EACH - 1) / EACH, whole = width / EACH;
  alignas(64) word tile[LANES * LANES];
  for (int64_t r = 0; r < columns; r += LANES)
    for (int64_t n = 0; n < words; n += LANES) {
      const int64_t plain = smaller(int64_t(LANES), whole - n);  // words of two numbers, where words have two
      for (int64_t i = 0; i < LANES; ++i) {
        word *line = tile + i * LANES;
        const stored *row = row_of(from, at(r + i), stride) + n * EACH;
        if (r + i >= rows) std::memset(line, 0, LANES * sizeof(word));
        else if (plain == LANES)
          for (int64_t j = 0; j < LANES; ++j) line[j] = word_of(row + j * EACH, row + j * EACH + 1);
        else {
          for (int64_t j = 0; j < plain; ++j) line[j] = word_of(row + j * EACH, row + j * EACH + 1);
          if (plain >= 0 && n + plain < words) line[plain] = word_of(row + plain * EACH);
        }
      }
      turn(tile);
      for (int64_t j = 0; j < smaller(int64_t(LANES), words - n); ++j) std::memcpy(to + (n + j) * columns + r, tile + j * LANES, LANES * sizeof(word));
    }
}
