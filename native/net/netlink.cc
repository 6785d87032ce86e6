#include "netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "unique_fd.h"

namespace starling::net {
namespace {

[[noreturn]] void Fail(const char* operation) {
  throw std::runtime_error(std::string(operation) + " netlink: " + std::strerror(errno));
}

UniqueFd Open(int protocol) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) Fail("socket");
  const int on = 1;
  const int size = 1 << 20;
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Fail("bind");
  return fd;
}

std::string Explanation(std::span<const uint8_t> message, const nlmsghdr& header, size_t at) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  while (at + sizeof(nlattr) <= message.size()) {
    nlattr attribute;
    std::memcpy(&attribute, message.data() + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > message.size()) break;
    if ((attribute.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
      const auto* text = reinterpret_cast<const char*>(message.data() + at + sizeof attribute);
      return std::string(text, strnlen(text, attribute.nla_len - sizeof attribute));
    }
    at += NLA_ALIGN(attribute.nla_len);
  }
  return {};
}

// The error number at the start of a message's payload, which the kernel gives negative.
std::optional<int> ErrorNumber(std::span<const uint8_t> message) {
  int code = 0;
  if (message.size() < NLMSG_LENGTH(sizeof code)) return std::nullopt;
  std::memcpy(&code, message.data() + NLMSG_LENGTH(0), sizeof code);
  if (code > 0 || code < -4095) return std::nullopt;
  return -code;
}

Answer AnswerOf(std::span<const uint8_t> message, const nlmsghdr& header, bool interrupted) {
  if (header.nlmsg_type == NLMSG_ERROR) {
    const auto error = ErrorNumber(message);
    return {error.value_or(EBADMSG), Explanation(message, header, NLMSG_LENGTH(sizeof(nlmsgerr)))};
  }
  // Some dumps end without a number.
  const bool has_number = message.size() >= NLMSG_LENGTH(sizeof(int));
  int error = has_number ? ErrorNumber(message).value_or(EBADMSG) : 0;
  if (error == 0 && interrupted) error = EINTR;
  return {error, Explanation(message, header, NLMSG_LENGTH(sizeof(int)))};
}

// Reads until the answer is complete.
Answer Receive(int fd, std::vector<uint8_t>& buffer, Receipt& receipt) {
  for (;;) {
    ssize_t count = recv(fd, buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("recv");
    auto answer = TakeDatagram({buffer.data(), static_cast<size_t>(count)}, receipt);
    if (answer) return *answer;
  }
}

std::mutex mu;
std::map<std::pair<std::string, int>, UniqueFd> kept;  // by session and protocol; GUARDED_BY(mu)

UniqueFd TakeKept(const std::string& session, int protocol) {
  const std::lock_guard<std::mutex> lock(mu);
  const auto found = kept.extract({session, protocol});
  return found.empty() ? UniqueFd() : std::move(found.mapped());
}

void Keep(const std::string& session, int protocol, UniqueFd fd) {
  const std::lock_guard<std::mutex> lock(mu);
  // Of two at a time the second is closed.
  kept.emplace(std::pair(session, protocol), std::move(fd));
}

}  // namespace

void CloseConversations(const std::string& session) {
  std::vector<UniqueFd> closing;  // Outside the lock, as it may wait.
  const std::lock_guard<std::mutex> lock(mu);
  for (auto at = kept.lower_bound({session, 0}); at != kept.end() && at->first.first == session; at = kept.erase(at)) {
    closing.push_back(std::move(at->second));
  }
}

std::optional<Answer> TakeDatagram(std::span<const uint8_t> rest, Receipt& receipt) {
  while (rest.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
    const auto message = rest.first(header.nlmsg_len);
    rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
    if (header.nlmsg_seq != receipt.sequence) continue;
    if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) receipt.interrupted = true;
    if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) return AnswerOf(message, header, receipt.interrupted);
    receipt.replies.insert(receipt.replies.end(), message.begin(), message.end());
    receipt.replies.resize(NLMSG_ALIGN(receipt.replies.size()));
  }
  return std::nullopt;
}

Conversation Converse(int protocol, std::span<const uint8_t> requests, const std::string& session) {
  UniqueFd fd = session.empty() ? UniqueFd() : TakeKept(session, protocol);
  if (!fd) fd = Open(protocol);
  Conversation conversation;
  std::vector<uint8_t> request;
  std::vector<uint8_t> buffer(1 << 16);
  Receipt receipt;
  size_t at = 0;
  while (at + sizeof(nlmsghdr) <= requests.size()) {
    nlmsghdr header;
    std::memcpy(&header, requests.data() + at, sizeof header);
    if (header.nlmsg_len < sizeof header || at + header.nlmsg_len > requests.size()) {
      throw std::runtime_error("netlink request at byte " + std::to_string(at) + " has a wrong length");
    }
    header.nlmsg_seq = ++receipt.sequence;
    receipt.interrupted = false;
    request.assign(requests.begin() + at, requests.begin() + at + header.nlmsg_len);
    std::memcpy(request.data(), &header, sizeof header);
    while (send(fd.get(), request.data(), request.size(), 0) < 0) {
      if (errno != EINTR) Fail("send");
    }
    conversation.answers.push_back(Receive(fd.get(), buffer, receipt));
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  conversation.replies = std::move(receipt.replies);
  if (!session.empty()) Keep(session, protocol, std::move(fd));
  return conversation;
}

}  // namespace starling::net
