// Of a function that is called for what it stores where a condition holds, and seldom. GCC 12 takes it for one that stores nothing once such stores have
// become masked ones, and drops its calls, unless it may not look into it.
#if defined(__GNUC__) && !defined(__clang__)
#define APART [[gnu::noipa]]
#else
#define APART [[gnu::noinline]]
#endif

// -- integers: division rounds towards minus infinity, a zero divisor gives 0 ------------------------------------------

template <typename T>
static inline T floor_div(T a, T b) {
  const T by = b == 0 ? T(1) : b;
  const T quotient = a / by;
  const T rounded = quotient - T((a % by != 0) & ((a < 0) != (by < 0)));
  return b == 0 ? T(0) : rounded;
}

template <typename T>
static inline T floor_mod(T a, T b) {
  const T by = (b == 0) | (b == -1) ? T(1) : b;  // the lowest number by -1 traps
  const T rest = a % by;
  const T rounded = rest + T((rest != 0) & ((rest < 0) != (by < 0))) * by;
  return b == 0 ? T(0) : rounded;
}

template <typename T> static inline T smaller(T a, T b) { return b < a ? b : a; }
template <typename T> static inline T larger(T a, T b) { return a < b ? b : a; }
template <typename T> static inline T magnitude(T a) { return a < 0 ? -a : a; }
template <typename T> static inline T shift_left(T a, T by) { return by < 0 || by > 63 ? T(0) : T(int64_t(uint64_t(int64_t(a)) << by)); }
template <typename T> static inline T shift_right(T a, T by) { return int64_t(a) >> (by < 0 ? 0 : by > 63 ? 63 : by); }

// -- reals ------------------------------------------------------------------------------------------------------------

// 2^n * p(f), with n the nearest integer to x / ln 2 and p the Taylor polynomial of exp on |f| <= ln 2 / 2; 0 below the normal numbers.
static inline float exponential(float x) {
  const float bounded = x < -87.3f ? -87.3f : (x > 88.7f ? 88.7f : x);  // NaN stays
  const float n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float f = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = (p * f * f + f) + 1.0f;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  const float value = p * power;
  return x < -87.3f ? 0.0f : (x > 88.7f ? INFINITY : value);
}

static inline double exponential(double x) { return std::exp(x); }

// Neither NaN nor infinite.
template <typename T> static inline bool is_finite(T x) { return (x < T(INFINITY)) & (x > -T(INFINITY)); }

template <typename T> static inline T sigmoid(T x) { return T(1) / (T(1) + exponential(-x)); }
static inline double hyperbolic_tangent(double x) { return std::tanh(x); }
static inline float hyperbolic_tangent(float x) {
  const float small = x * (1.0f - x * x * (1.0f / 3.0f));
  const float twice = exponential(2.0f * (x < 0 ? -x : x));
  const float large = 1.0f - 2.0f / (twice + 1.0f);
  const float magnitude_of = (x < 0 ? -large : large);
  return (x < 0.02f) & (x > -0.02f) ? small : magnitude_of;
}

// -- stored numbers ---------------------------------------------------------------------------------------------------

struct bf16 { uint16_t bits; };
struct f16 { uint16_t bits; };

static inline float widened(float x) { return x; }
static inline double widened(double x) { return x; }
static inline float widened(bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
static inline float widened(f16 x) {  // scaling by 2^112 moves the exponent and makes denormals right
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, rest = uint32_t(x.bits & 0x7fff) << 13;
  float value;
  std::memcpy(&value, &rest, sizeof value);
  value *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits |= sign | ((x.bits & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline void narrowed(float x, float &to) { to = x; }
static inline void narrowed(double x, double &to) { to = x; }
static inline void narrowed(float x, bf16 &to) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to.bits = uint16_t(x != x ? 0x7fc0u : rounded);
}
static inline void narrowed(float x, f16 &to) {  // adding 2^(e+13) rounds the significand to ten bits, to nearest even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
  uint32_t half;
  if (rest > 0x7f800000u) half = 0x7e00u;
  else if (rest >= 0x477ff000u) half = 0x7c00u;
  else if (rest < 0x38800000u) {
    float tiny;
    std::memcpy(&tiny, &rest, sizeof tiny);
    tiny += 0.5f;
    std::memcpy(&half, &tiny, sizeof half);
    half -= 0x3f000000u;
  } else half = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  to.bits = uint16_t(half | sign);
}

// -- tables -----------------------------------------------------------------------------------------------------------

// Indices are clamped: what is out of range belongs to rows and keys that do not count.
template <typename T, int rank>
struct table {
  const T *data;
  int64_t stride[rank], size[rank];
  template <typename... I>
  inline auto read(I... indices) const {
    const int64_t given[] = {int64_t(indices)...};
    int64_t place = 0;
    for (int axis = 0; axis < rank; ++axis) place += larger(int64_t(0), smaller(given[axis], size[axis] - 1)) * stride[axis];
    return size[0] > 0 ? widened_entry(data[place]) : decltype(widened_entry(data[place])){};
  }
  static inline int64_t widened_entry(int8_t x) { return x; }
  static inline int64_t widened_entry(int16_t x) { return x; }
  static inline int64_t widened_entry(int32_t x) { return x; }
  static inline int64_t widened_entry(int64_t x) { return x; }
  static inline int64_t widened_entry(uint8_t x) { return x; }
  static inline int64_t widened_entry(uint16_t x) { return x; }
  static inline int64_t widened_entry(uint32_t x) { return x; }
  static inline int64_t widened_entry(uint64_t x) { return int64_t(x); }  // which was seen to be below 2^63
  static inline bool widened_entry(bool x) { return x; }
  template <typename F> static inline auto widened_entry(F x) -> decltype(widened(x)) { return widened(x); }
};
