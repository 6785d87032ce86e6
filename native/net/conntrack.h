// Connection tracking entries of the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace starling::net {

struct ConntrackStep {
  std::vector<std::string> subnets;  // "10.0.1.0/24", "fd00::/64"
  std::vector<std::string> live;     // addresses
  std::vector<uint8_t> protocols;    // IPPROTO_TCP, IPPROTO_UDP; none: all
};

// Deletes the entries of these protocols that lead to an address of `subnets` which is not in `live`: their next packet is
// translated anew. A few IPv4 addresses (and none live) the kernel looks for itself, since 6.12; else entries are listed, and of TCP
// only established ones deleted. Returns at once where nothing is tracked. Throws std::runtime_error when an address is none or the
// kernel refuses the listing.
void FlushConntrack(const ConntrackStep& step);

// The requests that delete such entries of `listing`, the kernel's dump of the entries of `family` (AF_INET, AF_INET6), and
// how many they are. Pure. What is damaged is passed over. Throws as above for an address that is none.
struct Deletions {
  std::vector<uint8_t> requests;
  uint32_t count = 0;
};
Deletions PlanDeletions(const ConntrackStep& step, uint8_t family, std::span<const uint8_t> listing);

}  // namespace starling::net
