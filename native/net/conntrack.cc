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

// What of an entry's replies is compared, a bit each (net/netfilter/nf_internals.h).
constexpr uint32_t kSource = 1 << 0;
constexpr uint32_t kProtocol = 1 << 3;

// Has a listing tell, or a deletion delete, only entries whose replies have the `compared` parts of `tuple`.
std::vector<uint8_t> Selecting(uint32_t compared, const std::vector<uint8_t>& tuple) {
  std::vector<uint8_t> filter;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&compared);
  AppendAttribute(filter, CTA_FILTER_REPLY_FLAGS, {bytes, sizeof compared});
  std::vector<uint8_t> attributes;
  AppendAttribute(attributes, CTA_TUPLE_REPLY | NLA_F_NESTED, tuple);
  AppendAttribute(attributes, CTA_FILTER | NLA_F_NESTED, filter);
  return attributes;
}

std::vector<uint8_t> ProtocolTuple(uint8_t protocol) {
  std::vector<uint8_t> proto;
  AppendAttribute(proto, CTA_PROTO_NUM, {&protocol, 1});
  std::vector<uint8_t> tuple;
  AppendAttribute(tuple, CTA_TUPLE_PROTO | NLA_F_NESTED, proto);
  return tuple;
}

// Selects entries that lead to the IPv4 address, of `protocol` alone unless it is 0.
std::vector<uint8_t> LeadingTo(const Address& address, uint8_t protocol) {
  std::vector<uint8_t> source;
  AppendAttribute(source, CTA_IP_V4_SRC, Bytes(address.bytes).first(4));
  std::vector<uint8_t> tuple = protocol == 0 ? std::vector<uint8_t>() : ProtocolTuple(protocol);
  AppendAttribute(tuple, CTA_TUPLE_IP | NLA_F_NESTED, source);
  return Selecting(protocol == 0 ? kSource : kSource | kProtocol, tuple);
}

// Each look walks the table of all namespaces: for more addresses than this a listing of everything costs less.
constexpr size_t kSelectedMost = 8;

using Selections = std::vector<std::vector<uint8_t>>;

// What selects those entries of IPv4 that lead to addresses which `step` names, when it names no prefixes, and few addresses. Of
// IPv6 the kernel (6.18) selects those that lead anywhere else: its comparison is turned round.
std::optional<Selections> SelectFew(const ConntrackStep& step) {
  const auto protocols = step.protocols.empty() ? std::vector<uint8_t>{0} : step.protocols;
  Selections selections;
  for (const auto& text : step.subnets) {
    const auto [address, length] = ParsePrefix(text);
    if (address.family != AF_INET) continue;
    if (length != 32 || selections.size() >= kSelectedMost || !step.live.empty()) return std::nullopt;
    for (const uint8_t protocol : protocols) selections.push_back(LeadingTo(address, protocol));
  }
  return selections;
}

// What selects all that may be concerned.
Selections SelectAll(const ConntrackStep& step) {
  if (step.protocols.size() != 1) return {{}};
  return {Selecting(kProtocol, ProtocolTuple(step.protocols[0]))};
}

// Has the kernel delete what is selected: nothing is copied, and no connection taken for the one before it. False when it can't:
// before 6.12 this is the name of one connection to it, which lacks most.
bool DeleteSelected(const Selections& selections) {
  std::vector<uint8_t> requests;
  for (const auto& attributes : selections) {
    const auto request = Request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, AF_INET, attributes);
    requests.insert(requests.end(), request.begin(), request.end());
  }
  const auto answers = Converse(NETLINK_NETFILTER, requests).answers;
  return std::ranges::all_of(answers, [](const Answer& answer) { return answer.error == 0; });
}

// Lists what is selected, and deletes of it what `step` says. (Kernels before 5.8 list everything.)
void DeleteListed(const ConntrackStep& step, uint8_t family, const Selections& selections) {
  for (const auto& attributes : selections) {
    const auto listing = Converse(NETLINK_NETFILTER, Request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, attributes));
    // EINTR: the table changed meanwhile, which it always does.
    if (const int error = listing.answers.at(0).error; error != 0 && error != EINTR) {
      throw std::runtime_error(std::string("conntrack listing: ") + std::strerror(error));
    }
    // Those that ended by themselves meanwhile answer ENOENT.
    if (const auto planned = PlanDeletions(step, family, listing.replies); planned.count > 0) {
      Converse(NETLINK_NETFILTER, planned.requests);
    }
  }
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
    const bool is_meant = step.protocols.empty() || std::ranges::find(step.protocols, (*number)[0]) != step.protocols.end();
    if (!is_meant || !stale(address)) continue;
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

void FlushConntrack(const ConntrackStep& step) {
  const auto names = [&](uint8_t family) {
    return std::ranges::any_of(step.subnets, [&](const std::string& text) { return ParsePrefix(text).address.family == family; });
  };
  if (step.subnets.empty() || Count() == 0) return;
  if (names(AF_INET)) {
    const auto few = SelectFew(step);
    if (!few || !DeleteSelected(*few)) DeleteListed(step, AF_INET, few.value_or(SelectAll(step)));
  }
  if (names(AF_INET6)) DeleteListed(step, AF_INET6, SelectAll(step));
}

}  // namespace starling::net
