# Defines the target NCCL where NCCL is on and found, for a build with CUDA. It is looked for in NCCL_HOME,
# in the CUDA installation, in the folder nvidia/nccl of pip's wheel beside that of its CUDA wheels, and where the
# system's packages are.
set(DUALPATH_NCCL auto CACHE STRING "Communication among GPUs by NCCL: auto (where it is found), on, off")
set_property(CACHE DUALPATH_NCCL PROPERTY STRINGS auto on off)
if(DUALPATH_NCCL STREQUAL off OR NOT DUALPATH_CUDA_FOUND)
  if(DUALPATH_NCCL STREQUAL on)
    message(FATAL_ERROR "DUALPATH_NCCL=on needs CUDA, which this build has not")
  endif()
  return()
endif()

set(nccl_places ENV NCCL_HOME ${CUDAToolkit_ROOT} ENV CUDA_HOME ENV CUDA_PATH ${CUDAToolkit_BIN_DIR}/..
                ${CUDAToolkit_BIN_DIR}/../../nccl)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${nccl_places} PATH_SUFFIXES include)
# Of the same installation: pip's wheel has no libnccl.so, only libnccl.so.2.
get_filename_component(nccl_home "${NCCL_INCLUDE_DIR}" DIRECTORY)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR HINTS ${nccl_home} ${nccl_places}
             PATH_SUFFIXES lib lib64)
if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
  add_library(NCCL SHARED IMPORTED)
  set_target_properties(NCCL PROPERTIES IMPORTED_LOCATION ${NCCL_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${NCCL_INCLUDE_DIR})
elseif(DUALPATH_NCCL STREQUAL on)
  message(FATAL_ERROR "DUALPATH_NCCL=on, but nccl.h or libnccl is not found; name its installation by NCCL_HOME")
endif()
