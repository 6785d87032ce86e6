// Bytes sent by TCP from the calling thread's network namespace and back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace starling::net {

struct ExchangeStep {
  std::vector<std::string> addresses;  // IPv4
  uint16_t port;
  uint32_t size;  // bytes sent, and awaited back
  uint32_t timeout_ms;
};

// Per address "" when all bytes came back as they were sent, else why not: "no answer", "other bytes came back", or what the
// kernel says. All at once. Throws std::runtime_error when an address is none.
std::vector<std::string> Exchange(const ExchangeStep& step);

}  // namespace starling::net
