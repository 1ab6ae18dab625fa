// SPDX-License-Identifier: Apache-2.0
#include "keeper/message.h"

namespace vmlane::keeper {

std::string request_name(vhost_user::Request request) {
  using vhost_user::Request;
  switch (request) {
    case Request::kGetFeatures:
      return "GET_FEATURES";
    case Request::kSetFeatures:
      return "SET_FEATURES";
    case Request::kSetOwner:
      return "SET_OWNER";
    case Request::kResetOwner:
      return "RESET_OWNER";
    case Request::kSetMemTable:
      return "SET_MEM_TABLE";
    case Request::kSetLogBase:
      return "SET_LOG_BASE";
    case Request::kSetLogDescriptor:
      return "SET_LOG_FD";
    case Request::kSetRingSize:
      return "SET_VRING_NUM";
    case Request::kSetRingAddress:
      return "SET_VRING_ADDR";
    case Request::kSetRingBase:
      return "SET_VRING_BASE";
    case Request::kGetRingBase:
      return "GET_VRING_BASE";
    case Request::kSetRingKick:
      return "SET_VRING_KICK";
    case Request::kSetRingCall:
      return "SET_VRING_CALL";
    case Request::kSetRingError:
      return "SET_VRING_ERR";
    case Request::kGetProtocolFeatures:
      return "GET_PROTOCOL_FEATURES";
    case Request::kSetProtocolFeatures:
      return "SET_PROTOCOL_FEATURES";
    case Request::kGetQueueCount:
      return "GET_QUEUE_NUM";
    case Request::kSetRingEnable:
      return "SET_VRING_ENABLE";
    case Request::kSendRarp:
      return "SEND_RARP";
    case Request::kSetMtu:
      return "NET_SET_MTU";
    case Request::kSetStatus:
      return "SET_STATUS";
    case Request::kGetStatus:
      return "GET_STATUS";
  }
  return "message " + std::to_string(static_cast<std::uint32_t>(request));
}

}  // namespace vmlane::keeper
