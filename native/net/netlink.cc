#include "netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

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

std::string Explanation(const nlmsghdr* header, size_t fixed) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  const auto* bytes = reinterpret_cast<const uint8_t*>(header);
  size_t at = fixed;
  while (at + sizeof(nlattr) <= header->nlmsg_len) {
    nlattr attribute;
    std::memcpy(&attribute, bytes + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > header->nlmsg_len) break;
    if ((attribute.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
      const auto* text = reinterpret_cast<const char*>(bytes + at + sizeof attribute);
      return std::string(text, strnlen(text, attribute.nla_len - sizeof attribute));
    }
    at += NLA_ALIGN(attribute.nla_len);
  }
  return {};
}

// Reads until the answer to `sequence` is complete.
Answer Receive(int fd, uint32_t sequence, std::vector<uint8_t>& buffer, std::vector<uint8_t>& replies) {
  bool interrupted = false;
  for (;;) {
    ssize_t count = recv(fd, buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("recv");
    int left = static_cast<int>(count);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_seq != sequence) continue;
      if (header->nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
      if (header->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(header));
        return {-error->error, Explanation(header, NLMSG_LENGTH(sizeof(nlmsgerr)))};
      }
      if (header->nlmsg_type == NLMSG_DONE) {
        int code = 0;
        if (header->nlmsg_len >= NLMSG_LENGTH(sizeof code)) std::memcpy(&code, NLMSG_DATA(header), sizeof code);
        if (code == 0 && interrupted) code = -EINTR;
        return {-code, Explanation(header, NLMSG_LENGTH(sizeof code))};
      }
      const auto* bytes = reinterpret_cast<const uint8_t*>(header);
      replies.insert(replies.end(), bytes, bytes + header->nlmsg_len);
      replies.resize(NLMSG_ALIGN(replies.size()));
    }
  }
}

}  // namespace

Conversation Converse(int protocol, std::span<const uint8_t> requests) {
  UniqueFd fd = Open(protocol);
  Conversation conversation;
  std::vector<uint8_t> request;
  std::vector<uint8_t> buffer(1 << 16);
  uint32_t sequence = 0;
  size_t at = 0;
  while (at + sizeof(nlmsghdr) <= requests.size()) {
    nlmsghdr header;
    std::memcpy(&header, requests.data() + at, sizeof header);
    if (header.nlmsg_len < sizeof header || at + header.nlmsg_len > requests.size()) {
      throw std::runtime_error("netlink request at byte " + std::to_string(at) + " has a wrong length");
    }
    header.nlmsg_seq = ++sequence;
    request.assign(requests.begin() + at, requests.begin() + at + header.nlmsg_len);
    std::memcpy(request.data(), &header, sizeof header);
    while (send(fd.get(), request.data(), request.size(), 0) < 0) {
      if (errno != EINTR) Fail("send");
    }
    conversation.answers.push_back(Receive(fd.get(), sequence, buffer, conversation.replies));
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return conversation;
}

}  // namespace starling::net
