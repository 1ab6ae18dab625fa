# SPDX-License-Identifier: Apache-2.0
# How kernel programs of this project are compiled and given to the C++ code that loads them.
find_program(BPF_CLANG NAMES clang-16 clang REQUIRED)
find_program(BPFTOOL bpftool PATHS /usr/sbin /usr/local/sbin REQUIRED)

# vmlane_bpf_skeleton(NAME SOURCE): compiles SOURCE for the kernel and makes the interface library NAME, with which <SOURCE without .bpf.c>.skel.h
# can be included: the program's bytes and a struct <...>_bpf to open and load them. Warnings are errors here as everywhere, but for the header's, which
# bpftool writes.
function(vmlane_bpf_skeleton name source)
  get_filename_component(stem ${source} NAME_WE)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${stem}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${stem}.skel.h)
  # gnu17: libbpf's helpers use asm. asm/types.h stands in the architecture's directory, which clang does not search for the target bpf.
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu17 -Wall -Wextra -Werror -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -MD -MF ${object}.d -MT ${object} -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${source}
    DEPFILE ${object}.d
    VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${BPFTOOL} gen skeleton ${object} name ${stem}_bpf > ${skeleton}
    DEPENDS ${object}
    VERBATIM)
  add_custom_target(${name}_header DEPENDS ${skeleton})
  add_library(${name} INTERFACE)
  add_dependencies(${name} ${name}_header)
  target_include_directories(${name} SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
