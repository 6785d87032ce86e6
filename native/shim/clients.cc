#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "bounds.h"
#include "clock.h"
#include "requests.h"
#include "shim.h"

namespace starling {
namespace {

constexpr size_t kRequestMaxBytes = 1 << 20;
constexpr size_t kClientsMax = 256;

}  // namespace

void Shim::Accept() {
  for (;;) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (clients_.size() >= kClientsMax) continue;
    Client client;
    client.fd = std::move(fd);
    client.key = next_client_key_++;
    clients_.push_back(std::move(client));
  }
}

void Shim::ReadClient(Client& client) {
  char buffer[4096];
  for (;;) {
    ssize_t count = read(client.fd.get(), buffer, sizeof buffer);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (count <= 0) {
      client.closed = true;
      return;
    }
    client.input.append(buffer, static_cast<size_t>(count));
    if (client.input.size() > kRequestMaxBytes) {
      client.closed = true;
      return;
    }
  }
  size_t start = 0;
  for (size_t end; (end = client.input.find('\n', start)) != std::string::npos; start = end + 1) {
    Handle(client, std::string_view(client.input).substr(start, end - start));
  }
  client.input.erase(0, start);
}

void Shim::Handle(Client& client, std::string_view line) {
  Request request = ParseRequest(line);
  if (request.fault.ok()) Dispatch(client, request.id, request.op, request.value);
  else AnswerStatus(client, request.id, request.fault);
}

void Shim::Dispatch(Client& client, int64_t id, const std::string& op, const json::Value& request) {
  if (op == "state" || op == "stats") {
    json::Object members;
    op == "state" ? DescribeState(members) : DescribeStats(members);
    Answer(client.key, id, members);
  } else if (op == "wait") {
    waiters_.push_back(Waiter{client.key, id});
  } else if (op == "start") {
    AnswerStatus(client, id, Start());
  } else if (op == "signal") {
    const json::Value* number = request.Find("signal");
    AnswerStatus(client, id, Signal(number == nullptr ? 0 : number->integer));
  } else if (op == "kill") {
    AnswerStatus(client, id, Kill());
  } else if (op == "pause" || op == "resume") {
    Status frozen = cgroup_.Freeze(op == "pause");
    if (frozen.ok()) paused_ = op == "pause";
    AnswerStatus(client, id, frozen);
  } else if (op == "exec") {
    BeginExec(client, id, request);
  } else if (op == "stream") {
    StartSession(client, id, request);
  } else if (op == "attach") {
    Attach(client, id);
  } else if (op.starts_with("stream")) {
    SessionRequest(client, id, op, request);
  } else if (op == "top") {
    json::Object members;
    DescribeTop(members);
    Answer(client.key, id, members);
  } else if (op == "resize") {
    AnswerStatus(client, id, Resize(request));
  } else {
    AnswerStatus(client, id, Error{"request: unknown op `" + op + "`", ENOSYS});
  }
}

void Shim::Answer(uint64_t client_key, int64_t id, json::Object& members) {
  for (Client& client : clients_) {
    if (client.key != client_key || client.closed) continue;
    std::string text = members.Done();
    client.output.append("{\"id\":").append(std::to_string(id)).append(",\"ok\":true");
    if (text.size() > 2) client.output.append(",").append(text, 1, text.size() - 2);
    client.output.append("}\n");
    FlushClient(client);
    return;
  }
}

void Shim::AnswerStatus(const Client& client, int64_t id, const Status& status) {
  if (status.ok()) {
    json::Object none;
    Answer(client.key, id, none);
    return;
  }
  for (Client& other : clients_) {
    if (other.key != client.key) continue;
    json::Object members;
    members.Int("id", id).Bool("ok", false).String("error", status.error().message).Int("errno", status.error().number);
    other.output.append(members.Done()).append("\n");
    FlushClient(other);
  }
}

void Shim::FlushClient(Client& client) {
  while (!client.output.empty() && !client.closed) {
    ssize_t count = send(client.fd.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      if (client.output.size() > kOutputMaxBytes) client.closed = true;
      return;
    }
    if (count < 0) {
      client.closed = true;
      return;
    }
    client.output.erase(0, static_cast<size_t>(count));
  }
}

void Shim::FlushAll(int64_t timeout_ms) {
  int64_t deadline_ms = MonotonicMs() + timeout_ms;
  for (Client& client : clients_) {
    FlushClient(client);
    while (!client.output.empty() && !client.closed) {
      int64_t left_ms = deadline_ms - MonotonicMs();
      pollfd item = {client.fd.get(), POLLOUT, 0};
      if (left_ms <= 0 || poll(&item, 1, static_cast<int>(left_ms)) <= 0) break;
      FlushClient(client);
    }
  }
}

}  // namespace starling
