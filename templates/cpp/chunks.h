// Partial tiles are handled chunk by chunk: CHUNK lanes, and the lines between the first and the last that any of these lanes sees. Lines are
// keys where lanes are query rows, and query rows where lanes are keys.
struct run {
  int64_t start, stop;
};

// What is known of the lanes of the tile at hand.
template <typename index, typename W>
inline index *known(W &w) {
  if constexpr (sizeof(index) == sizeof w.known_narrow[0]) return w.known_narrow;
  else return w.known_wide;
}

// Whether lane `l` of line `n` is seen, line(n)(l), goes to open[n * width + l], 0 or 1; the lines of each chunk, whole words of them, to `runs`. True where
// they are nearly the whole tile, which is better handled at once.
template <int64_t width, typename F>
inline bool open_lines(int64_t lines, int32_t *open, run *runs, const F &line) {
  alignas(64) int32_t low[width], high[width];
  for (int64_t l = 0; l < width; ++l) low[l] = int32_t(lines), high[l] = 0;
  for (int32_t n = 0; n < int32_t(lines); ++n) {
    const auto seen = line(n);
    for (int32_t l = 0; l < int32_t(width); ++l) {
      const int32_t here = seen(l);
      open[n * width + l] = here;
      low[l] = here ? smaller(low[l], n) : low[l];
      high[l] = here ? n + 1 : high[l];
    }
  }
  int64_t live = 0;
  for (int64_t c = 0; c < width / CHUNK; ++c) {
    int32_t start = int32_t(lines), stop = 0;
    for (int64_t l = c * CHUNK; l < (c + 1) * CHUNK; ++l) start = smaller(start, low[l]), stop = larger(stop, high[l]);
    runs[c] = {start - start % EACH, smaller(stop + stop % int32_t(EACH), int32_t(lines))};
    live += larger(int64_t(0), runs[c].stop - runs[c].start);
  }
  return 8 * live > 7 * lines * (width / CHUNK);
}
