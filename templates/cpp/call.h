#define LACUNA_ABI 1

enum lacuna_status {
  LACUNA_OK = 0,
  LACUNA_NO_MEMORY = 1,        /* a thread could not have its workspace */
  LACUNA_OTHER_ABI = 2,        /* `version` is not LACUNA_ABI, or `size` is less than this kernel's structure */
  LACUNA_OTHER_PROCESSOR = 3,  /* this processor lacks an instruction that the kernel is made of */
  LACUNA_BAD_CALL = 4,         /* a null tensor or array, a negative length, heads that are no multiple of kv_heads, or an offset
                                  or more rows than the kernel is for */
  LACUNA_NO_TERMS = 5,         /* `terms` is null, and the kernel has a function ..._terms that fills it */
  LACUNA_TOO_LARGE = 6         /* with a length, an offset or a parameter this large an integer may leave 64 bits */
};

/* One call. Strides and sizes count elements; the last dimension of a tensor is contiguous. */
typedef struct lacuna_call {
  uint32_t size, version;                     /* sizeof(lacuna_call) and LACUNA_ABI */
  const void *q, *k, *v;                      /* [batch, heads, q_len, D], [kv_batch, kv_heads, k_len, D], [..., Dv] */
  void *out, *lse;                            /* [batch, heads, q_len, Dv]; [batch, heads, q_len], which may be null */
  int64_t batch, heads, kv_heads, kv_batch;   /* heads is a multiple of kv_heads; kv_batch is 1 or batch */
  int64_t q_len, k_len;                       /* of packed sequences: of the longest */
  int64_t q_strides[3], k_strides[3], v_strides[3], out_strides[3], lse_strides[3]; /* of (batch, head, token) */
  const int64_t *q_start, *q_lens, *k_start, *k_lens, *offsets; /* [batch] each, or null; q_start and k_start: packed */
  int64_t offset;                             /* position of query row 0; the kernel says whether it may be other than 0 */
  double scale;                               /* 1 / sqrt(D) as a rule */
  const int64_t *integers;                    /* parameters, in the order of the kernel */
  const double *reals;                        /* likewise */
  const void *const *tables;                  /* likewise */
  const int64_t *table_strides, *table_sizes; /* of every axis of every table, one after another */
  int64_t threads;                            /* 0: as many as OpenMP has */
  int64_t *terms;                             /* what ..._terms filled; null where the kernel has no such function */
} lacuna_call;
