#include "conntrack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>

#include "netlink.h"
#include "unique_fd.h"

namespace starling::net {
namespace {

// IPv4 addresses stand in the first four bytes.
struct Address {
  uint8_t family = 0;
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const Address&) const = default;
};

struct Prefix {
  Address address;
  unsigned length = 0;

  bool Contains(const Address& other) const {
    if (other.family != address.family) return false;
    for (unsigned bit = 0; bit < length; bit++) {
      const uint8_t mask = 0x80 >> (bit % 8);
      if ((address.bytes[bit / 8] & mask) != (other.bytes[bit / 8] & mask)) return false;
    }
    return true;
  }
};

Address ParseAddress(const std::string& text) {
  Address address;
  address.family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(address.family, text.c_str(), address.bytes.data()) != 1) throw std::runtime_error("\"" + text + "\" is not an IP address");
  return address;
}

Prefix ParsePrefix(const std::string& text) {
  const auto slash = text.find('/');
  Prefix prefix{ParseAddress(text.substr(0, slash)), 0};
  const unsigned most = prefix.address.family == AF_INET ? 32 : 128;
  char* end = nullptr;
  const std::string digits = slash == std::string::npos ? "" : text.substr(slash + 1);
  const unsigned long length = std::strtoul(digits.c_str(), &end, 10);
  if (digits.empty() || *end != '\0' || length > most) throw std::runtime_error("\"" + text + "\" is not an IP prefix");
  prefix.length = static_cast<unsigned>(length);
  return prefix;
}

using Bytes = std::span<const uint8_t>;

// The value of the first attribute of `type` in `attributes`.
std::optional<Bytes> Find(Bytes attributes, uint16_t type) {
  while (attributes.size() >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, attributes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > attributes.size()) return std::nullopt;
    if ((header.nla_type & NLA_TYPE_MASK) == type) return attributes.subspan(sizeof header, header.nla_len - sizeof header);
    attributes = attributes.subspan(std::min<size_t>(NLA_ALIGN(header.nla_len), attributes.size()));
  }
  return std::nullopt;
}

void Append(std::vector<uint8_t>& to, const void* bytes, size_t count) {
  const auto* from = static_cast<const uint8_t*>(bytes);
  to.insert(to.end(), from, from + count);
  to.resize(NLMSG_ALIGN(to.size()));
}

void AppendAttribute(std::vector<uint8_t>& to, uint16_t type, Bytes value) {
  const nlattr header{static_cast<uint16_t>(sizeof(nlattr) + value.size()), type};
  Append(to, &header, sizeof header);
  Append(to, value.data(), value.size());
}

std::vector<uint8_t> Request(uint16_t message, uint16_t flags, uint8_t family, Bytes attributes) {
  std::vector<uint8_t> request;
  nlmsghdr header{};
  header.nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | message;
  header.nlmsg_flags = NLM_F_REQUEST | flags;
  header.nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(sizeof(nfgenmsg)) + attributes.size());
  Append(request, &header, sizeof header);
  const nfgenmsg extra{family, NFNETLINK_V0, 0};
  Append(request, &extra, sizeof extra);
  Append(request, attributes.data(), attributes.size());
  return request;
}

// Whether the entry is a TCP connection that has ended, or not yet begun. Its tuple may be another connection's by the time
// it is deleted, and the kernel gives a new entry in the old one's memory the same id.
bool IsPassing(Bytes attributes) {
  const auto info = Find(attributes, CTA_PROTOINFO);
  const auto tcp = info ? Find(*info, CTA_PROTOINFO_TCP) : std::nullopt;
  const auto state = tcp ? Find(*tcp, CTA_PROTOINFO_TCP_STATE) : std::nullopt;
  return state && !state->empty() && (*state)[0] != TCP_CONNTRACK_ESTABLISHED;
}

// Has a listing tell only entries whose replies come from `address`. Kernels before 5.8 tell all the same.
std::vector<uint8_t> RepliesFrom(const Address& address) {
  const bool is_v4 = address.family == AF_INET;
  std::vector<uint8_t> source;
  AppendAttribute(source, is_v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, Bytes(address.bytes).first(is_v4 ? 4 : 16));
  std::vector<uint8_t> tuple;
  AppendAttribute(tuple, CTA_TUPLE_IP | NLA_F_NESTED, source);
  // Bit 0: the source address (net/netfilter/nf_internals.h).
  const uint32_t compared = 1;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&compared);
  std::vector<uint8_t> filter;
  AppendAttribute(filter, CTA_FILTER_REPLY_FLAGS, {bytes, sizeof compared});
  std::vector<uint8_t> attributes;
  AppendAttribute(attributes, CTA_TUPLE_REPLY | NLA_F_NESTED, tuple);
  AppendAttribute(attributes, CTA_FILTER | NLA_F_NESTED, filter);
  return attributes;
}

// Each listing walks the table of all namespaces: for more addresses than this one that tells everything costs less.
constexpr size_t kFilteredMost = 8;

// Attributes of the listings that together tell all entries of `family` that lead into `subnets`.
std::vector<std::vector<uint8_t>> Listings(uint8_t family, const std::vector<std::string>& subnets) {
  const unsigned most = family == AF_INET ? 32 : 128;
  std::vector<Prefix> prefixes;
  for (const auto& text : subnets) {
    if (auto prefix = ParsePrefix(text); prefix.address.family == family) prefixes.push_back(prefix);
  }
  if (prefixes.empty()) return {};
  const bool are_addresses = std::ranges::all_of(prefixes, [&](const Prefix& prefix) { return prefix.length == most; });
  if (!are_addresses || prefixes.size() > kFilteredMost) return {{}};
  std::vector<std::vector<uint8_t>> listings;
  for (const auto& prefix : prefixes) listings.push_back(RepliesFrom(prefix.address));
  return listings;
}

// Entries of this namespace; -1 when that can't be read.
long Count() {
  const UniqueFd fd(open("/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY | O_CLOEXEC));
  char text[32] = {};
  if (!fd || read(fd.get(), text, sizeof text - 1) <= 0) return -1;
  return std::strtol(text, nullptr, 10);
}

}  // namespace

Deletions PlanDeletions(const ConntrackStep& step, uint8_t family, std::span<const uint8_t> listing) {
  std::vector<Prefix> subnets;
  for (const auto& text : step.subnets) subnets.push_back(ParsePrefix(text));
  std::set<Address> live;
  for (const auto& text : step.live) live.insert(ParseAddress(text));
  const auto stale = [&](const Address& address) {
    return !live.contains(address) && std::ranges::any_of(subnets, [&](const Prefix& p) { return p.Contains(address); });
  };
  const size_t address_size = family == AF_INET ? 4 : 16;
  Deletions deletions;
  Bytes rest = listing;
  while (rest.size() >= NLMSG_LENGTH(sizeof(nfgenmsg))) {
    nlmsghdr header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len < NLMSG_LENGTH(sizeof(nfgenmsg)) || header.nlmsg_len > rest.size()) break;
    const Bytes attributes = rest.subspan(NLMSG_LENGTH(sizeof(nfgenmsg)), header.nlmsg_len - NLMSG_LENGTH(sizeof(nfgenmsg)));
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
    const auto original = Find(attributes, CTA_TUPLE_ORIG);
    const auto reply = Find(attributes, CTA_TUPLE_REPLY);
    const auto id = Find(attributes, CTA_ID);
    if (!original || !reply || !id) continue;
    const auto addresses = Find(*reply, CTA_TUPLE_IP);
    const auto proto = Find(*reply, CTA_TUPLE_PROTO);
    if (!addresses || !proto) continue;
    const auto source = Find(*addresses, family == AF_INET ? CTA_IP_V4_SRC : CTA_IP_V6_SRC);
    const auto number = Find(*proto, CTA_PROTO_NUM);
    if (!source || source->size() != address_size || !number || number->empty()) continue;
    Address address{family, {}};
    std::ranges::copy(*source, address.bytes.begin());
    if (std::ranges::find(step.protocols, (*number)[0]) == step.protocols.end() || !stale(address)) continue;
    if (IsPassing(attributes)) continue;
    std::vector<uint8_t> named;
    AppendAttribute(named, CTA_TUPLE_ORIG | NLA_F_NESTED, *original);
    AppendAttribute(named, CTA_ID, *id);
    const auto request = Request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family, named);
    deletions.requests.insert(deletions.requests.end(), request.begin(), request.end());
    deletions.count++;
  }
  return deletions;
}

uint32_t FlushConntrack(const ConntrackStep& step) {
  if (step.subnets.empty() || Count() == 0) return 0;
  std::vector<uint8_t> deletions;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    for (const auto& attributes : Listings(family, step.subnets)) {
      const auto listing = Converse(NETLINK_NETFILTER, Request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, attributes));
      // EINTR: the table changed meanwhile, which it always does.
      if (const int error = listing.answers.at(0).error; error != 0 && error != EINTR) {
        throw std::runtime_error(std::string("conntrack listing: ") + std::strerror(error));
      }
      const auto planned = PlanDeletions(step, family, listing.replies);
      deletions.insert(deletions.end(), planned.requests.begin(), planned.requests.end());
    }
  }
  if (deletions.empty()) return 0;
  const auto answers = Converse(NETLINK_NETFILTER, deletions).answers;
  // Those that ended by themselves meanwhile answer ENOENT.
  return static_cast<uint32_t>(std::ranges::count_if(answers, [](const Answer& answer) { return answer.error == 0; }));
}

}  // namespace starling::net
