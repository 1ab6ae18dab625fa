# SPDX-License-Identifier: Apache-2.0
# How programs of this project are linked.

# vmlane_static_program(NAME SOURCES... LIBS...)
# A CNI plugin: fully static, because it runs from a Multus pod chrooted into any distribution, and stripped. A sanitizer
# cannot be linked statically, so sanitizer builds are dynamic.
function(vmlane_static_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS})
  if(NOT VMLANE_SANITIZE)
    target_link_options(${name} PRIVATE -static)
    if(CMAKE_BUILD_TYPE STREQUAL "Release")
      target_link_options(${name} PRIVATE -s)
    endif()
  endif()
endfunction()
