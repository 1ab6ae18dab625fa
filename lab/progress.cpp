// SPDX-License-Identifier: Apache-2.0
#include "lab/progress.h"

#include <iomanip>
#include <sstream>

namespace vmlane::lab {

void Progress::line(const std::string& subject, const std::string& what) const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  std::ostringstream text;  // so that the stream's own format stays as it is
  text << std::fixed << std::setprecision(1) << std::setw(6) << elapsed.count() << " s  " << subject << ": "
       << what;
  out_ << text.str() << std::endl;
}

}  // namespace vmlane::lab
