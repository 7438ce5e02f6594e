/* Stands in for libcuda.so.1: writes what it is asked to stdout. LACUNA_STUB_ARGUMENTS: how many arguments the kernel takes.
   A launch on stream 0xbad fails. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cuModuleLoadData(void **module, const void *image) {
  *module = (void *)0x10;
  printf("load %02x%02x%02x%02x\n", ((const uint8_t *)image)[0], ((const uint8_t *)image)[1], ((const uint8_t *)image)[2], ((const uint8_t *)image)[3]);
  return 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = (void *)0x20;
  printf("function %s\n", name);
  return module != (void *)0x10;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
  printf("attribute %d %d\n", attribute, value);
  return function != (void *)0x20;
}
int cuCtxGetDevice(int *device) { return *device = 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 16 ? 3 : 0;
  return device;
}
int cuMemAllocAsync(uint64_t *memory, size_t size, void *stream) {
  *memory = 0x7000;
  printf("allocate %zu %p\n", size, stream);
  return 0;
}
int cuMemFreeAsync(uint64_t memory, void *stream) {
  printf("release %llx %p\n", (unsigned long long)memory, stream);
  return 0;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream,
                   void **arguments, void **extra) {
  printf("launch %p %u %u %u %u %u %u %u %p %d\n", function, x, y, z, bx, by, bz, shared, stream, extra != NULL);
  if (stream == (void *)0xbad) return 1;
  const char *sizes = getenv("LACUNA_STUB_ARGUMENTS");
  for (int n = 0; sizes[n]; ++n) {
    uint64_t value = 0;
    memcpy(&value, arguments[n], (size_t)(sizes[n] - '0'));
    printf("argument %llu\n", (unsigned long long)value);
  }
  return 0;
}
