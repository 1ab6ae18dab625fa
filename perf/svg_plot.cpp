// SPDX-License-Identifier: Apache-2.0
#include "perf/svg_plot.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace vmlane::perf {
namespace {

constexpr int kColours = 8;
constexpr std::array<const char*, kColours> kDashes = {"",     "7 3", "2 3", "9 3 2 3",
                                                       "12 4", "4 2", "1 4", "6 2 1 2 1 2"};
constexpr double kWidth = 720;

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string colour(int index) {
  return "var(--c" + std::to_string(index % kColours) + ")";
}

std::string open_svg(const std::string& title, const std::string& description, double height) {
  return "<figure><figcaption>" + escape_html(title) +
         "</figcaption><div class=\"wide\"><svg role=\"img\" viewBox=\"0 0 " + number(kWidth) + " " +
         number(height) + "\"><title>" + escape_html(title) + "</title><desc>" + escape_html(description) +
         "</desc>\n";
}

std::string close_svg(const std::string& description) {
  return "</svg></div><p class=\"note\">" + escape_html(description) + "</p></figure>\n";
}

std::string text_at(double x, double y, const char* anchor, const std::string& text, const char* style = "") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\"" + style +
         ">" + escape_html(text) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
         number(y2) + "\" " + style + "/>\n";
}

// From the ninth line on, colours and dashes come again; these lines have a mark besides. Few marks are
// enough to tell them, and a line of thousands of points stays a line.
std::string mark(int index, double x, double y) {
  const int round = index / kColours;
  if (round <= 0) return {};
  const std::string style = "style=\"fill:" + colour(index) + "\" class=\"mark\"";
  if (round % 2 == 1)
    return "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"4\" " + style + "/>\n";
  return "<rect x=\"" + number(x - 4) + "\" y=\"" + number(y - 4) + "\" width=\"8\" height=\"8\" " + style +
         "/>\n";
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string bar_plot(const BarPlot& plot) {
  if (plot.bars.empty()) return {};
  constexpr double kLabels = 190;
  constexpr double kValues = 150;
  constexpr double kRow = 30;
  constexpr double kTop = 10;
  double top = std::max(plot.reference.value_or(0), plot.least_scale);
  for (const Bar& bar : plot.bars) top = std::max({top, bar.value, bar.interval ? bar.interval->second : 0});
  if (top <= 0) top = 1;
  const auto x = [&](double value) {
    return kLabels + (kWidth - kLabels - kValues) * std::max(value, 0.0) / top;
  };
  const double height = kTop + kRow * static_cast<double>(plot.bars.size()) + 8;
  std::string svg = open_svg(plot.title, plot.description, height);
  double y = kTop;
  std::string values;  // over everything else; their outline keeps them readable on the reference line
  for (const Bar& bar : plot.bars) {
    const double middle = y + kRow / 2;
    svg += text_at(kLabels - 8, middle + 4, "end", bar.label);
    svg += "<rect x=\"" + number(kLabels) + "\" y=\"" + number(y + 6) + "\" width=\"" +
           number(std::max(x(bar.value) - kLabels, 1.0)) + "\" height=\"" + number(kRow - 12) +
           "\" style=\"fill:" + colour(bar.colour) + "\"/>\n";
    double end = x(bar.value);
    if (bar.interval) {
      const double low = x(bar.interval->first);
      const double high = x(bar.interval->second);
      end = std::max(end, high);
      svg += line(low, middle, high, middle, "class=\"whisker\"");
      svg += line(low, middle - 5, low, middle + 5, "class=\"whisker\"");
      svg += line(high, middle - 5, high, middle + 5, "class=\"whisker\"");
    }
    values += text_at(end + 6, middle + 4, "start", bar.text);
    y += kRow;
  }
  if (plot.reference)
    svg += line(x(*plot.reference), 2, x(*plot.reference), height - 2, "class=\"reference\"");
  return svg + values + close_svg(plot.description);
}

std::string line_plot(const LinePlot& plot) {
  if (plot.lines.empty()) return {};
  constexpr double kLeft = 64;
  constexpr double kRight = 12;
  constexpr double kPlotHeight = 300;
  constexpr double kTop = 12;
  constexpr double kLegendRow = 20;
  const std::size_t legend_rows = (plot.lines.size() + 1) / 2;
  const double bottom = kTop + kPlotHeight;
  const double height = bottom + 48 + kLegendRow * static_cast<double>(legend_rows);
  const auto x = [&](double at) { return kLeft + (kWidth - kLeft - kRight) * std::clamp(at, 0.0, 1.0); };
  const auto y = [&](double at) { return bottom - kPlotHeight * std::clamp(at, 0.0, 1.0); };
  std::string svg = open_svg(plot.title, plot.description, height);
  for (const Tick& tick : plot.x_ticks) {
    svg += line(x(tick.at), kTop, x(tick.at), bottom, "class=\"grid\"");
    svg += text_at(x(tick.at), bottom + 16, "middle", tick.label);
  }
  for (const Tick& tick : plot.y_ticks) {
    svg += line(kLeft, y(tick.at), kWidth - kRight, y(tick.at), "class=\"grid\"");
    svg += text_at(kLeft - 6, y(tick.at) + 4, "end", tick.label);
  }
  svg += text_at(kWidth - kRight, bottom + 34, "end", plot.x_label, " class=\"axis\"");
  svg += text_at(kLeft + 4, kTop + 10, "start", plot.y_label, " class=\"axis\"");
  std::size_t index = 0;
  for (const Line& entry : plot.lines) {
    const std::string style = "style=\"stroke:" + colour(entry.colour) + "\" stroke-dasharray=\"" +
                              kDashes[static_cast<std::size_t>(entry.colour % kColours)] +
                              "\" class=\"line\"";
    svg += "<polyline points=\"";
    for (const auto& [px, py] : entry.points) svg += number(x(px)) + "," + number(y(py)) + " ";
    svg += "\" " + style + "/>\n";
    constexpr double kBetweenMarks = 60;
    double marked = -kBetweenMarks;
    for (const auto& [px, py] : entry.points) {
      if (x(px) - marked < kBetweenMarks) continue;
      marked = x(px);
      svg += mark(entry.colour, x(px), y(py));
    }
    const double left = kLeft + (index % 2 == 0 ? 0 : (kWidth - kLeft) / 2);
    const std::size_t row_number = index / 2;
    const double row = bottom + 52 + kLegendRow * static_cast<double>(row_number);
    svg += line(left, row - 4, left + 34, row - 4, style.c_str());
    svg += mark(entry.colour, left + 17, row - 4);
    svg += text_at(left + 42, row, "start", entry.label);
    index++;
  }
  return svg + close_svg(plot.description);
}

}  // namespace vmlane::perf
