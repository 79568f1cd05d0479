// A driver without a GPU, as far as cuDNN asks one when it makes plans for a GPU that is described
// to it: code can be loaded, and nothing can be run.
enum { no_device = 100 };

int cuInit(unsigned flags) {
  (void)flags;
  return no_device;
}
int cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = 0;
  return no_device;
}
int cuLibraryLoadData(void** library, const void* code, void* options, void** values,
                      unsigned num_options, void* library_options, void** library_values,
                      unsigned num_library_options) {
  (void)code, (void)options, (void)values, (void)num_options;
  (void)library_options, (void)library_values, (void)num_library_options;
  *library = library;
  return 0;
}
int cuLibraryGetKernel(void** kernel, void* library, const char* name) {
  (void)name;
  *kernel = library;
  return 0;
}
#include "other_functions.inc"
