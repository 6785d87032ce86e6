// Expected failures as values. A function that can fail returns Result<T> (or Status when it has nothing to give), and
// the caller looks at it: both types are [[nodiscard]]. No exceptions cross this code.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace starling {

// What failed, in words for an operator: operation, object, errno: "mount `overlay` on `/x`: EBUSY".
struct Error {
  std::string message;
  // errno of the failing call, 0 when none was involved.
  int number = 0;

  // The error of the call just made. Reads errno, so call it before anything else does.
  static Error Errno(std::string operation, std::string_view object, int number = errno) {
    const char* name = strerrorname_np(number);
    std::string message = std::move(operation);
    if (!object.empty()) message.append(" `").append(object).append("`");
    message.append(": ").append(name != nullptr ? name : std::to_string(number));
    return Error{std::move(message), number};
  }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() { return *std::get_if<0>(&state_); }
  const T& value() const { return *std::get_if<0>(&state_); }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }

  // REQUIRES: !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  // REQUIRES: !ok().
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

#define STARLING_CONCAT_(a, b) a##b
#define STARLING_CONCAT(a, b) STARLING_CONCAT_(a, b)

// Returns from the enclosing function with the error of `expression` (a Status or Result).
#define STARLING_TRY(expression)                             \
  do {                                                       \
    if (auto try_status = (expression); !try_status.ok()) {  \
      return try_status.error();                             \
    }                                                        \
  } while (false)

// Declares `variable` as the value of `expression`, or returns its error.
#define STARLING_ASSIGN(variable, expression)                                                            \
  auto STARLING_CONCAT(assign_, __LINE__) = (expression);                                                \
  if (!STARLING_CONCAT(assign_, __LINE__).ok()) return STARLING_CONCAT(assign_, __LINE__).error();       \
  auto variable = std::move(STARLING_CONCAT(assign_, __LINE__).value())

}  // namespace starling
