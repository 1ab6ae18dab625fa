// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

// What vmlane-keeper and a switch that it started say to each other, over a packet socket that the switch
// finds under the descriptor of its option --keeper: one word a packet.
namespace vmlane::switch_words {

inline constexpr std::string_view kWarm = "warm";              // switch: its memory is there; it waits
inline constexpr std::string_view kGo = "go";                  // keeper: take the node over
inline constexpr std::string_view kConnected = "connected";    // switch: to all sessions that it knows of
inline constexpr std::string_view kForward = "forward";        // keeper: all guests are there; move frames
inline constexpr std::string_view kForwarding = "forwarding";  // switch: it does
inline constexpr std::string_view kDrain = "drain";            // keeper: take no more frames
inline constexpr std::string_view kDrained = "drained";        // switch: none is on its way in it
inline constexpr std::size_t kLongest = 16;

}  // namespace vmlane::switch_words
