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
  std::vector<uint8_t> protocols;    // IPPROTO_TCP, IPPROTO_UDP
};

// Deletes the entries of these protocols (of TCP, established ones only) that lead to an address of `subnets` which is not in `live`: their next packet is
// translated anew. Returns how many it deleted; 0 at once where nothing is tracked. Throws std::runtime_error when an
// address is none or the kernel refuses the listing.
uint32_t FlushConntrack(const ConntrackStep& step);

// The requests that delete such entries of `listing`, the kernel's dump of the entries of `family` (AF_INET, AF_INET6), and
// how many they are. Pure. What is damaged is passed over. Throws as above for an address that is none.
struct Deletions {
  std::vector<uint8_t> requests;
  uint32_t count = 0;
};
Deletions PlanDeletions(const ConntrackStep& step, uint8_t family, std::span<const uint8_t> listing);

}  // namespace starling::net
