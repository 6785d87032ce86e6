#include "exchange.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
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

// One connection; done when `outcome` is not "no answer" any more.
struct Peer {
  UniqueFd fd;
  std::string outcome = "no answer";
  size_t sent = 0;
  size_t received = 0;
  bool done = false;

  void End(std::string why) {
    outcome = std::move(why);
    done = true;
    fd = UniqueFd();
  }
};

uint8_t ByteAt(size_t position) { return static_cast<uint8_t>(position * 31 + (position >> 8)); }

void Connect(Peer& peer, const std::string& text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) throw std::runtime_error("\"" + text + "\" is not an IPv4 address");
  peer.fd = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!peer.fd) return peer.End(std::strerror(errno));
  const auto* to = reinterpret_cast<const sockaddr*>(&address);
  if (connect(peer.fd.get(), to, sizeof address) != 0 && errno != EINPROGRESS) peer.End(std::strerror(errno));
}

// Sends and receives what is possible now.
void Advance(Peer& peer, const std::vector<uint8_t>& bytes, std::vector<uint8_t>& buffer) {
  while (peer.sent < bytes.size()) {
    const ssize_t count = send(peer.fd.get(), bytes.data() + peer.sent, bytes.size() - peer.sent, MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == ENOTCONN)) break;
    if (count < 0) return peer.End(std::strerror(errno));
    peer.sent += static_cast<size_t>(count);
  }
  while (true) {
    const ssize_t count = recv(peer.fd.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
    if (count < 0) return peer.End(std::strerror(errno));
    if (count == 0) return peer.End("the connection ended early");
    const auto length = static_cast<size_t>(count);
    if (length > bytes.size() - peer.received || !std::equal(buffer.begin(), buffer.begin() + count, bytes.begin() + static_cast<ssize_t>(peer.received))) {
      return peer.End("other bytes came back");
    }
    peer.received += length;
    if (peer.received == bytes.size()) return peer.End("");
  }
}

}  // namespace

std::vector<std::string> Exchange(const ExchangeStep& step) {
  std::vector<uint8_t> bytes(step.size);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = ByteAt(i);
  std::vector<uint8_t> buffer(1 << 16);
  std::vector<Peer> peers(step.addresses.size());
  for (size_t i = 0; i < peers.size(); i++) Connect(peers[i], step.addresses[i], step.port);
  const auto end = Clock::now() + std::chrono::milliseconds(step.timeout_ms);
  while (true) {
    std::vector<pollfd> ready;
    std::vector<Peer*> waiting;
    for (auto& peer : peers) {
      if (peer.done) continue;
      ready.push_back({peer.fd.get(), static_cast<short>(peer.sent < bytes.size() ? POLLIN | POLLOUT : POLLIN), 0});
      waiting.push_back(&peer);
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (waiting.empty() || left <= 0) break;
    const int found = poll(ready.data(), ready.size(), static_cast<int>(left));
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) break;
    for (size_t i = 0; i < waiting.size(); i++) {
      if (ready[i].revents != 0) Advance(*waiting[i], bytes, buffer);
    }
  }
  std::vector<std::string> outcomes;
  for (auto& peer : peers) outcomes.push_back(std::move(peer.outcome));
  return outcomes;
}

}  // namespace starling::net
