/* Attention from C: a causal window inside documents, compared with a plain loop.
   `./attend [FILE]` writes the output to FILE, float32[HEADS, TOKENS, DIM]. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "lacuna.h"

enum { HEADS = 2, TOKENS = 150, DIM = 64, WINDOW = 40, DOCUMENT = 60 };

static float query[HEADS][TOKENS][DIM], key[HEADS][TOKENS][DIM], value[HEADS][TOKENS][DIM], out[HEADS][TOKENS][DIM];
static int32_t documents[TOKENS];

static bool sees(int q, int k) { return k <= q && q - k < WINDOW && documents[q] == documents[k]; }

static double product(int head, int q, int k) {
  double sum = 0;
  for (int d = 0; d < DIM; ++d) sum += (double)query[head][q][d] * key[head][k][d];
  return sum / sqrt(DIM);
}

static double largest_difference(void) {
  double largest = 0;
  for (int head = 0; head < HEADS; ++head)
    for (int q = 0; q < TOKENS; ++q) {
      double sum = 0, wanted[DIM] = {0};
      for (int k = 0; k < TOKENS; ++k)
        if (sees(q, k)) {
          const double weight = exp(product(head, q, k));
          sum += weight;
          for (int d = 0; d < DIM; ++d) wanted[d] += weight * value[head][k][d];
        }
      for (int d = 0; d < DIM; ++d) largest = fmax(largest, fabs(wanted[d] / sum - out[head][q][d]));
    }
  return largest;
}

static int32_t attend(void) {
  const int64_t strides[3] = {HEADS * TOKENS * DIM, TOKENS * DIM, DIM};
  const int64_t integers[] = {WINDOW}, table_strides[] = {1}, table_sizes[] = {TOKENS};
  const void *const tables[] = {documents};
  lacuna_call call = {0};
  call.size = sizeof call, call.version = LACUNA_ABI;
  call.q = query, call.k = key, call.v = value, call.out = out;
  call.batch = 1, call.heads = HEADS, call.kv_heads = HEADS, call.kv_batch = 1, call.q_len = TOKENS, call.k_len = TOKENS;
  for (int n = 0; n < 3; ++n) call.q_strides[n] = call.k_strides[n] = call.v_strides[n] = call.out_strides[n] = strides[n];
  call.scale = 1 / sqrt(DIM);
  call.integers = integers, call.tables = tables, call.table_strides = table_strides, call.table_sizes = table_sizes;

  /* Bounds of `doc` over tiles: they serve every call with these documents and lengths. */
  const int64_t size = lacuna_documents_window_f32_d64_forward_terms_size(&call);
  int64_t *terms = size < 0 ? NULL : malloc((size_t)size * sizeof *terms);
  int32_t status = LACUNA_NO_MEMORY;
  if (terms) status = lacuna_documents_window_f32_d64_forward_terms(&call, terms);
  call.terms = terms;
  if (status == LACUNA_OK) status = lacuna_documents_window_f32_d64_forward(&call);
  free(terms);
  return status;
}

int main(int count, char **arguments) {
  float *const tensors[] = {&query[0][0][0], &key[0][0][0], &value[0][0][0]};
  for (int t = 0; t < 3; ++t)
    for (int n = 0; n < HEADS * TOKENS * DIM; ++n) tensors[t][n] = (float)sin(0.37 * n * (t + 1) + t);
  for (int n = 0; n < TOKENS; ++n) documents[n] = n / DOCUMENT;

  const int32_t status = attend();
  if (status != LACUNA_OK) return fprintf(stderr, "the kernel refused the call: %d\n", (int)status), 1;
  const double difference = largest_difference();
  printf("largest difference from a plain loop: %.2g\n", difference);
  if (count > 1) {
    FILE *file = fopen(arguments[1], "wb");
    if (!file || fwrite(out, sizeof out, 1, file) != 1 || fclose(file)) return perror(arguments[1]), 1;
  }
  return difference < 1e-5 ? 0 : 1;
}
