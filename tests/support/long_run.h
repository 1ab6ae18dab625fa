// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace vmlane::test {

// Whether the long form was asked for (VMLANE_LONG=1): the counts that the specification states, instead of
// ones that take seconds.
bool long_run();

// `count` in the long form, else `short_count`.
int rounds(int short_count, int count);

}  // namespace vmlane::test
