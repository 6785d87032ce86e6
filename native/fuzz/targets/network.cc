// What comes over netlink sockets, dumps of tracked connections, and answers to echo requests.
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstring>
#include <vector>

#include "../../net/conntrack.h"
#include "../../net/netlink.h"
#include "../../net/ping.h"
#include "input.h"

namespace starling::fuzz {
namespace {

// A copy that is exactly as long: a read beyond it is seen.
std::vector<uint8_t> Copy(std::string_view bytes) { return {bytes.begin(), bytes.end()}; }

void RequireMessages(const std::vector<uint8_t>& messages, uint32_t* count) {
  size_t at = 0;
  for (; at + sizeof(nlmsghdr) <= messages.size(); (*count)++) {
    nlmsghdr header;
    std::memcpy(&header, messages.data() + at, sizeof header);
    Require(header.nlmsg_len >= sizeof header && at + header.nlmsg_len <= messages.size(), "messages stand back to back");
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  Require(at == messages.size(), "messages end with the last one");
}

void TryDatagrams(std::string_view bytes) {
  net::Receipt receipt;
  receipt.sequence = 1;
  // Two datagrams: what the first one leaves open the second one ends.
  for (std::string_view datagram : {bytes.substr(0, bytes.size() / 2), bytes}) {
    const auto answer = net::TakeDatagram(Copy(datagram), receipt);
    if (answer) Require(answer->error >= 0, "an error number is none below 0");
  }
  uint32_t count = 0;
  RequireMessages(receipt.replies, &count);
}

void TryConntrack(uint8_t family, std::string_view bytes) {
  net::ConntrackStep step;
  step.subnets = {"10.0.0.0/8", "0.0.0.0/1", "fd00::/8"};
  step.live = {"10.0.0.5", "fd00::5"};
  step.protocols = {6, 17};
  const auto deletions = net::PlanDeletions(step, family, Copy(bytes));
  uint32_t count = 0;
  RequireMessages(deletions.requests, &count);
  Require(count == deletions.count, "as many requests as were counted");
  Require(bytes.size() >= deletions.count * NLMSG_LENGTH(sizeof(nfgenmsg)), "no more is deleted than was listed");
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  switch (input.Choice(4)) {
    case 0: fuzz::TryDatagrams(input.Rest()); break;
    case 1: fuzz::TryConntrack(AF_INET, input.Rest()); break;
    case 2: fuzz::TryConntrack(AF_INET6, input.Rest()); break;
    default: (void)net::EchoReplySequence(fuzz::Copy(input.Rest()), 0x4242);
  }
  return 0;
}
