// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// Where the build and the sources are. In one source file, so that the others compile the same in any
// checkout.
namespace vmlane::test {

// The directory of the programs of this build, and one of them by its name; an absolute path stays what it
// is.
std::string built_programs();
std::string built(const std::string& program);

// A file of the source tree, by its path in it.
std::string source_file(const std::string& path);

}  // namespace vmlane::test
