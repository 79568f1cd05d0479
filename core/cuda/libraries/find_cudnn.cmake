# Sets DUALPATH_CUDNN_FOUND, CUDNN_INCLUDE_DIR and CUDNN_LIBRARY: beside CUDA, or where CUDNN_HOME (the
# folder nvidia/cudnn of pip's wheel) says. The wheel has no libcudnn.so, only libcudnn.so.9.
set(DUALPATH_CUDNN auto CACHE STRING "cuDNN's attention: auto (where cuDNN 9.10 or newer is found), on, off")
set_property(CACHE DUALPATH_CUDNN PROPERTY STRINGS auto on off)
set(DUALPATH_CUDNN_FOUND OFF)
if(NOT DUALPATH_CUDNN STREQUAL off)
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ENV CUDNN_HOME PATHS ${CUDAToolkit_INCLUDE_DIRS}
            PATH_SUFFIXES include)
  get_filename_component(cudnn_home "${CUDNN_INCLUDE_DIR}" DIRECTORY)
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${cudnn_home} ENV CUDNN_HOME
               PATHS ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
  set(cudnn_version 0)
  if(CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY AND EXISTS ${CUDNN_INCLUDE_DIR}/cudnn_version.h)
    file(STRINGS ${CUDNN_INCLUDE_DIR}/cudnn_version.h lines REGEX "define CUDNN_(MAJOR|MINOR) +[0-9]+")
    string(REGEX REPLACE ".*MAJOR +([0-9]+).*MINOR +([0-9]+).*" "\\1.\\2" cudnn_version "${lines}")
  endif()
  if(cudnn_version VERSION_GREATER_EQUAL 9.10)
    set(DUALPATH_CUDNN_FOUND ON)
  elseif(DUALPATH_CUDNN STREQUAL on)
    message(FATAL_ERROR "DUALPATH_CUDNN=on, but cuDNN 9.10 or newer is not found; name it by CUDNN_HOME")
  endif()
endif()
