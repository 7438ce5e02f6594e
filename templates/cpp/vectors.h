// -- vectors along a row of keys or values ----------------------------------------------------------------------------

template <int lanes>
struct vectors {
  using whole = typename std::conditional<sizeof(real) == 8, int64_t, int32_t>::type;
  typedef real reals __attribute__((vector_size(lanes * sizeof(real)), aligned(sizeof(real)), may_alias));
  typedef whole wholes __attribute__((vector_size(lanes * sizeof(real))));
  typedef uint32_t words __attribute__((vector_size(lanes * 4)));
  typedef uint16_t halves __attribute__((vector_size(lanes * 2), aligned(2), may_alias));
  typedef uint32_t pairs __attribute__((vector_size(lanes * 4), aligned(2), may_alias));
};
using vec = vectors<LANES>::reals;
using key_vec = vectors<KEY_LANES>::reals;
using value_vec = vectors<VALUE_LANES>::reals;

// Sixteen bits each in 32. GCC splits the widest vectors for this unless told the instruction; its plain form warns of a value never set.
template <int lanes>
inline typename vectors<lanes>::words words_of(const stored *from) {
#ifdef __AVX512F__
  if constexpr (lanes == 16) return (typename vectors<lanes>::words)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i *)from));
#endif
  return __builtin_convertvector(*(const typename vectors<lanes>::halves *)from, typename vectors<lanes>::words);
}

template <int lanes>
inline typename vectors<lanes>::reals widened_vector(const stored *from) {
  using reals = typename vectors<lanes>::reals;
  if constexpr (std::is_same<stored, real>::value) return *(const reals *)from;
  else {
#ifdef __F16C__
    if constexpr (std::is_same<stored, f16>::value && lanes == 8) return (reals)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#endif
#ifdef __AVX512F__
    if constexpr (std::is_same<stored, f16>::value && lanes == 16) return (reals)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i *)from));
#endif
    using words = typename vectors<lanes>::words;
    const words bits = words_of<lanes>(from);
    if constexpr (std::is_same<stored, bf16>::value) return (reals)(bits << 16);
    else {  // as `widened` of one f16
      const reals size = (reals)((bits & 0x7fff) << 13) * 0x1p112f;
      const words special = (words)((bits & 0x7c00) == 0x7c00) & 0x7f800000u;
      return (reals)((words)size | (bits & 0x8000) << 16 | special);
    }
  }
}

// Two bfloat16 in 32 bits are widened by a shift and by a mask: vectors 2n and 2n + 1 of a row then hold its even and its odd numbers there.
template <int lanes, int64_t width>
constexpr bool in_pairs = std::is_same<stored, bf16>::value && width % (2 * lanes) == 0;

// Where in a row the number in `lane` of vector `c` lies. The last vector ends where the row does; where it overlaps, it holds the same again.
template <int lanes, int64_t width>
constexpr int64_t column(int c, int lane) {
  return in_pairs<lanes, width> ? c / 2 * 2 * lanes + 2 * lane + c % 2 : (c * lanes < width - lanes ? c * lanes : width - lanes) + lane;
}

template <int lanes, int64_t width>
inline typename vectors<lanes>::reals row_vector(const stored *row, int c) {
  if constexpr (in_pairs<lanes, width>) {
    const typename vectors<lanes>::words pairs = *(const typename vectors<lanes>::pairs *)(row + c / 2 * 2 * lanes);
    return (typename vectors<lanes>::reals)(c % 2 ? pairs & 0xffff0000u : pairs << 16);
  } else return widened_vector<lanes>(row + column<lanes, width>(c, 0));
}

inline value_vec value_part(const stored *row, int c) { return row_vector<VALUE_LANES, DV>(row, c); }

// The same of a key or a query, 0 in lanes that overlap, so that a product counts them once.
inline key_vec key_part(const stored *row, int c) {
  const key_vec part = row_vector<KEY_LANES, D>(row, c);
  if constexpr (KEY_WIDTH == D) return part;
  else {
    using wholes = vectors<KEY_LANES>::wholes;
    wholes counts = {};
    for (int lane = 0; lane < KEY_LANES; ++lane) counts[lane] = c + 1 < KEY_VECTORS || lane >= KEY_WIDTH - D ? -1 : 0;
    return (key_vec)((wholes)part & counts);
  }
}

// -- sums across lanes ------------------------------------------------------------------------------------------------

// Of each 2 * `half` lanes, the first half comes from a, the second from b; `upper` chooses which half of a's and b's lanes they are.
template <int half, bool upper>
constexpr int lane_from(int lane, int lanes) {
  const int block = lane / (2 * half) * (2 * half), at = lane % (2 * half);
  return block + at % half + (upper ? half : 0) + (at < half ? 0 : lanes);
}

template <int half, bool upper, size_t... lane>
inline key_vec interleaved(key_vec a, key_vec b, std::index_sequence<lane...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, lane_from<half, upper>(int(lane), KEY_LANES)...);
#else
  return __builtin_shuffle(a, b, vectors<KEY_LANES>::wholes{lane_from<half, upper>(int(lane), KEY_LANES)...});
#endif
}

// Lane n of the result is the sum of all lanes of sum[first + n], for `count` vectors.
template <int first, int count>
inline key_vec sums_of(const key_vec *sum) {
  if constexpr (count == 1) return sum[first];
  else {
    constexpr int half = count / 2;
    const auto lanes = std::make_index_sequence<KEY_LANES>();
    const key_vec a = sums_of<first, half>(sum), b = sums_of<first + half, half>(sum);
    return interleaved<half, false>(a, b, lanes) + interleaved<half, true>(a, b, lanes);
  }
}

inline real sum_of(vec lanes) {
  real sums[LANES];
  std::memcpy(sums, &lanes, sizeof sums);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}
