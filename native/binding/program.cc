#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "../sys/unique_fd.h"

namespace starling {
namespace {

constexpr size_t kKeptBytes = 64 << 10;

struct Pipe {
  UniqueFd read, write;
  bool Open() {
    std::array<int, 2> fds;
    if (pipe2(fds.data(), O_CLOEXEC) != 0) return false;
    read.reset(fds[0]);
    write.reset(fds[1]);
    return true;
  }
};

// Owns what posix_spawn is told: /dev/null and two pipes as standard streams, no signal blocked or handled, nothing else
// of ours open.
class SpawnPlan {
 public:
  SpawnPlan(int out, int err) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, out, 1);
    posix_spawn_file_actions_adddup2(&actions_, err, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0, or an errno.
  int Start(pid_t* pid, const std::vector<std::string>& args) const {
    std::vector<char*> words;
    for (const auto& arg : args) words.push_back(const_cast<char*>(arg.c_str()));
    words.push_back(nullptr);
    char* const no_environment[] = {nullptr};
    return posix_spawn(pid, words[0], &actions_, &attributes_, words.data(), no_environment);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// Reads both ends until both are closed.
void Collect(UniqueFd out, std::string& out_text, UniqueFd err, std::string& err_text) {
  std::array<UniqueFd, 2> fds{std::move(out), std::move(err)};
  std::array<std::string*, 2> texts{&out_text, &err_text};
  std::array<char, 4096> buffer;
  while (fds[0] || fds[1]) {
    // poll ignores negative descriptors.
    std::array<pollfd, 2> polled{pollfd{fds[0].get(), POLLIN, 0}, pollfd{fds[1].get(), POLLIN, 0}};
    if (poll(polled.data(), polled.size(), -1) < 0) continue;  // EINTR
    for (size_t i = 0; i < fds.size(); i++) {
      if (!fds[i] || polled[i].revents == 0) continue;
      const ssize_t got = read(fds[i].get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fds[i].reset();
      else if (texts[i]->size() < kKeptBytes) texts[i]->append(buffer.data(), static_cast<size_t>(got));
    }
  }
}

}  // namespace

ProgramResult RunProgram(const std::vector<std::string>& args) {
  ProgramResult result;
  Pipe out, err;
  if (!out.Open() || !err.Open()) {
    result.error = std::string("pipe2: ") + std::strerror(errno);
    return result;
  }
  pid_t pid = 0;
  if (const int error = SpawnPlan(out.write.get(), err.write.get()).Start(&pid, args); error != 0) {
    result.error = "posix_spawn `" + args[0] + "`: " + std::strerror(error);
    return result;
  }
  out.write.reset();
  err.write.reset();
  Collect(std::move(out.read), result.out, std::move(err.read), result.err);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno == EINTR) continue;
    result.error = "waitpid `" + args[0] + "`: " + std::strerror(errno);
    return result;
  }
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace starling
