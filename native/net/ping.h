// ICMP echo requests from the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace starling::net {

struct PingStep {
  struct Target {
    std::string address;  // IPv4
    uint32_t size;        // payload in bytes; never fragmented
  };
  std::vector<Target> targets;
  uint32_t timeout_ms;
};

// Per target "" when it answered, else why not: "no answer", or what the kernel says. Asks three times within the timeout.
// Throws std::runtime_error when no socket can be made or an address is none.
std::vector<std::string> Ping(const PingStep& step);

// The sequence number of an IPv4 packet that is an echo reply with this id (as it stands in the packet). Pure.
std::optional<uint16_t> EchoReplySequence(std::span<const uint8_t> packet, uint16_t id);

}  // namespace starling::net
