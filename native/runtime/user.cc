#include "user.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "../sys/fs.h"

namespace starling {
namespace {

std::optional<uint32_t> Number(std::string_view text) {
  uint32_t value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The last two ids mean "no change" to the kernel.
  if (problem != std::errc() || end != text.data() + text.size() || value > 0x7fffffff) return std::nullopt;
  return value;
}

struct PasswdEntry {
  uid_t uid;
  gid_t gid;
  std::string_view name;
  std::string_view home;
};

// name:password:uid:gid:comment:home:shell
std::optional<PasswdEntry> FindUser(std::string_view passwd, std::string_view user) {
  std::optional<uint32_t> wanted = Number(user);
  for (std::string_view line : fs::Split(passwd, '\n')) {
    std::vector<std::string_view> fields = fs::Split(line, ':');
    if (fields.size() < 6) continue;
    std::optional<uint32_t> uid = Number(fields[2]);
    std::optional<uint32_t> gid = Number(fields[3]);
    if (!uid || !gid) continue;
    if (fields[0] == user || uid == wanted) return PasswdEntry{*uid, *gid, fields[0], fields[5]};
  }
  return std::nullopt;
}

// name:password:gid:member,member
std::optional<gid_t> FindGroup(std::string_view group_text, std::string_view name) {
  for (std::string_view line : fs::Split(group_text, '\n')) {
    std::vector<std::string_view> fields = fs::Split(line, ':');
    if (fields.size() >= 3 && fields[0] == name) return Number(fields[2]);
  }
  return Number(name);
}

void AddMemberships(std::string_view group_text, std::string_view user, std::vector<gid_t>& groups) {
  for (std::string_view line : fs::Split(group_text, '\n')) {
    std::vector<std::string_view> fields = fs::Split(line, ':');
    if (fields.size() < 4) continue;
    std::vector<std::string_view> members = fs::Split(fields[3], ',');
    std::optional<uint32_t> gid = Number(fields[2]);
    if (gid && std::find(members.begin(), members.end(), user) != members.end()) groups.push_back(*gid);
  }
}

Error Unknown(std::string_view what, std::string_view name) {
  return Error{"unable to find " + std::string(what) + " " + std::string(name) + ": no matching entry in the image's " +
                   (what == "user" ? "/etc/passwd" : "/etc/group"),
               ENOENT};
}

}  // namespace

Result<Identity> ResolveUser(std::string_view user, const std::vector<std::string>& more_groups,
                             std::string_view passwd_text, std::string_view group_text) {
  size_t colon = user.find(':');
  std::string_view name = user.substr(0, colon);
  std::string_view group = colon == std::string_view::npos ? std::string_view() : user.substr(colon + 1);
  if (name.empty()) name = "0";
  Identity identity;
  std::optional<PasswdEntry> entry = FindUser(passwd_text, name);
  if (entry) {
    identity.uid = entry->uid;
    identity.gid = entry->gid;
    if (!entry->home.empty()) identity.home = std::string(entry->home);
  } else {
    std::optional<uint32_t> uid = Number(name);
    if (!uid) return Unknown("user", name);
    identity.uid = *uid;
    if (*uid == 0) identity.home = "/root";
  }
  if (!group.empty()) {
    std::optional<gid_t> gid = FindGroup(group_text, group);
    if (!gid) return Unknown("group", group);
    identity.gid = *gid;
  }
  // The primary group is among the others, too: a setgid program must not shed it (CVE-2022-36109).
  identity.groups.push_back(identity.gid);
  if (group.empty() && entry) AddMemberships(group_text, entry->name, identity.groups);
  for (const std::string& more : more_groups) {
    std::optional<gid_t> gid = FindGroup(group_text, more);
    if (!gid) return Unknown("group", more);
    identity.groups.push_back(*gid);
  }
  return identity;
}

}  // namespace starling
