# Sets DUALPATH_CUDA_FOUND, and enables CUDA where it is on. An installation is what the environment
# names (CUDA_HOME or CUDA_PATH: environment modules, or the folder nvidia/cu13 of pip's wheels), what
# is on the PATH, or /usr/local/cuda.
set(DUALPATH_CUDA auto CACHE STRING "GPU backend: auto (where nvcc is found), on, off")
set_property(CACHE DUALPATH_CUDA PROPERTY STRINGS auto on off)
set(DUALPATH_CUDA_FOUND OFF)
if(DUALPATH_CUDA STREQUAL off)
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER)
  find_program(DUALPATH_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda
               PATH_SUFFIXES bin)
  if(NOT DUALPATH_NVCC)
    if(DUALPATH_CUDA STREQUAL on)
      message(FATAL_ERROR "DUALPATH_CUDA=on, but no nvcc is found; name its installation by CUDA_HOME")
    endif()
    return()
  endif()
  set(CMAKE_CUDA_COMPILER ${DUALPATH_NVCC})
endif()

# Machine code for A100 and H100/H200; for what is newer the driver translates the last one's PTX.
set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual CACHE STRING "GPU architectures")
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
find_package(CUDAToolkit 12 REQUIRED)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc can
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(DUALPATH_CUDA_FOUND ON)
