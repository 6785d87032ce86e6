#include "ping.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "unique_fd.h"

namespace starling::net {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kTries = 3;
constexpr const char* kNoAnswer = "no answer";

uint16_t Checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) sum += bytes[i] | (i + 1 < bytes.size() ? bytes[i + 1] << 8 : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

std::vector<uint8_t> EchoRequest(uint16_t id, uint16_t sequence, uint32_t size) {
  std::vector<uint8_t> packet(sizeof(icmphdr) + size, 0x5a);
  icmphdr header{};
  header.type = ICMP_ECHO;
  header.un.echo.id = id;
  header.un.echo.sequence = htons(sequence);
  std::memcpy(packet.data(), &header, sizeof header);
  header.checksum = Checksum(packet);
  std::memcpy(packet.data(), &header, sizeof header);
  return packet;
}

}  // namespace

std::optional<uint16_t> EchoReplySequence(std::span<const uint8_t> packet, uint16_t id) {
  if (packet.size() < sizeof(iphdr)) return std::nullopt;
  const size_t header_size = (packet[0] & 0xfU) * 4;
  icmphdr reply;
  if (header_size < sizeof(iphdr) || packet.size() < header_size + sizeof reply) return std::nullopt;
  std::memcpy(&reply, packet.data() + header_size, sizeof reply);
  if (reply.type != ICMP_ECHOREPLY || reply.un.echo.id != id) return std::nullopt;
  return ntohs(reply.un.echo.sequence);
}

std::vector<std::string> Ping(const PingStep& step) {
  std::vector<std::string> outcomes(step.targets.size(), kNoAnswer);
  std::vector<sockaddr_in> addresses(step.targets.size());
  for (size_t i = 0; i < step.targets.size(); i++) {
    addresses[i].sin_family = AF_INET;
    if (inet_pton(AF_INET, step.targets[i].address.c_str(), &addresses[i].sin_addr) != 1) {
      throw std::runtime_error("\"" + step.targets[i].address + "\" is not an IPv4 address");
    }
  }
  const UniqueFd fd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP));
  if (!fd) throw std::runtime_error(std::string("socket icmp: ") + std::strerror(errno));
  const int never_fragment = IP_PMTUDISC_PROBE;
  setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &never_fragment, sizeof never_fragment);
  uint16_t id = 0;
  if (getrandom(&id, sizeof id, 0) != sizeof id) id = static_cast<uint16_t>(getpid());
  size_t waiting = outcomes.size();
  const auto start = Clock::now();
  std::vector<uint8_t> buffer(1 << 16);
  for (int attempt = 1; attempt <= kTries && waiting > 0; attempt++) {
    for (size_t i = 0; i < outcomes.size(); i++) {
      if (outcomes[i].empty()) continue;
      const auto packet = EchoRequest(id, static_cast<uint16_t>(i), step.targets[i].size);
      const auto* to = reinterpret_cast<const sockaddr*>(&addresses[i]);
      outcomes[i] = sendto(fd.get(), packet.data(), packet.size(), 0, to, sizeof addresses[i]) < 0 ? std::strerror(errno) : kNoAnswer;
    }
    const auto end = start + std::chrono::milliseconds(step.timeout_ms) * attempt / kTries;
    while (waiting > 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      pollfd ready{fd.get(), POLLIN, 0};
      if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) break;
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t count = recvfrom(fd.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (count <= 0) continue;
      const auto i = EchoReplySequence({buffer.data(), static_cast<size_t>(count)}, id);
      if (!i || *i >= outcomes.size() || outcomes[*i].empty()) continue;
      if (from.sin_addr.s_addr != addresses[*i].sin_addr.s_addr) continue;
      outcomes[*i].clear();
      waiting--;
    }
  }
  return outcomes;
}

}  // namespace starling::net
