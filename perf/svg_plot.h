// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

// Plots as inline SVG. Colours are the CSS variables --c0 to --c7 of the page, so that they follow its light
// or dark scheme; lines differ by their dashes as well, for readers who do not tell the colours apart, and
// from the ninth on by marks. On a screen too narrow to read them a plot scrolls sideways instead of
// shrinking.
namespace vmlane::perf {

// Text for HTML and SVG, attribute values included.
std::string escape_html(const std::string& text);

struct Bar {
  std::string label;
  std::string text;  // the value as it is written beside the bar
  double value = 0;
  std::optional<std::pair<double, double>> interval;
  int colour = 0;
};

struct BarPlot {
  std::string title;
  std::string description;
  std::vector<Bar> bars;
  std::optional<double> reference;  // a line at this value
  double least_scale = 0;           // the scale goes at least this far, lest next to nothing look like much
};

// Horizontal bars from 0. Empty text without bars.
std::string bar_plot(const BarPlot& plot);

struct Tick {
  double at = 0;  // in plot coordinates
  std::string label;
};

struct Line {
  std::string label;
  std::vector<std::pair<double, double>> points;  // in plot coordinates, x and y from 0 to 1
  int colour = 0;
};

struct LinePlot {
  std::string title;
  std::string description;
  std::string x_label;
  std::string y_label;
  std::vector<Tick> x_ticks;
  std::vector<Tick> y_ticks;
  std::vector<Line> lines;
};

// Empty text without lines.
std::string line_plot(const LinePlot& plot);

}  // namespace vmlane::perf
