// A team of threads that is reused. Work is a fixed list of tasks. Any member may run any task, so results must depend
// only on the tasks and never on the member. Test: tests/test_threads_and_memory.py.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <system_error>
#include <thread>
#include <type_traits>

#include "flush_denormals.hpp"

namespace zeroloss {

namespace detail {

using Microseconds = std::chrono::microseconds;

/// Polls `ready` for a time. Returns true as soon as `ready` returns true, else false.
template <class Ready>
bool spin_until(const Ready& ready, Microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  do {
    for (int poll = 0; poll < 64; ++poll) {
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

/// Waits until `ready` returns true, if another running thread is about to finish. It yields only if the wait is longer
/// than usual, because a yield may cost milliseconds on a shared processor. It does yield then, so more threads than
/// processors do no great harm.
template <class Ready>
void wait_until(const Ready& ready) {
  if (ready() || spin_until(ready, Microseconds(100))) return;
  while (!ready()) std::this_thread::yield();
}

/// The threads of the process. All teams share them; one team at a time can use them.
class Crew {
 public:
  using Call = void (*)(void* context, std::ptrdiff_t task, int member);

  /// Returns the crew of this process. A forked child gets a new one, because threads do not survive a fork.
  static Crew& instance() {
    static const bool registered = [] {
      pthread_atfork(nullptr, nullptr, [] { current() = new Crew; });
      return true;
    }();
    static const AtExit stop_at_exit;
    static_cast<void>(registered);
    return *current();
  }

  /// Runs all tasks on up to `size` members; the caller is member 0. Does nothing and returns false if the crew is busy
  /// with another caller, or if a task calls this.
  bool run(int size, std::ptrdiff_t tasks, Call call, void* context) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    size = static_cast<int>(std::min<std::ptrdiff_t>(size, tasks));
    hire(size - 1);
    call_ = call;
    context_ = context;
    tasks_ = tasks;
    unfinished_.store(tasks, std::memory_order_relaxed);
    const auto members = static_cast<std::uint64_t>(size);
    offer_.store((members << offer_bits) | static_cast<std::uint64_t>(tasks), std::memory_order_release);
    wake(static_cast<std::size_t>(size - 1));
    work(0);
    wait_until([this] { return unfinished_.load(std::memory_order_acquire) == 0; });
    busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  // The offer is one word, (members << offer_bits) | remaining tasks. Claiming a task and checking that it is offered
  // to this member are therefore one operation. A job does not end before its claimed tasks, so its fields may be read
  // after a claim, never before.
  static constexpr int offer_bits = 48;
  static constexpr std::uint64_t left_mask = (std::uint64_t{1} << offer_bits) - 1;

  /// A thread, and the word that it sleeps on.
  struct alignas(64) Helper {
    std::atomic<std::uint32_t> calls{0};
    std::thread thread;
  };

  struct AtExit {
    ~AtExit() { current()->retire(); }
  };

  static Crew*& current() {
    static Crew* crew = new Crew;  // never deleted: exiting threads may still read it
    return crew;
  }

  bool offered(int member) const {
    const std::uint64_t offer = offer_.load(std::memory_order_relaxed);
    return (offer & left_mask) != 0 && static_cast<std::uint64_t>(member) < offer >> offer_bits;
  }

  /// Claims a task. Returns the number of tasks that remained, including this one, or 0 if there is none for this
  /// member.
  std::ptrdiff_t claim(int member) {
    std::uint64_t offer = offer_.load(std::memory_order_relaxed);
    do {
      if ((offer & left_mask) == 0 || static_cast<std::uint64_t>(member) >= offer >> offer_bits) {
        return 0;
      }
    } while (!offer_.compare_exchange_weak(offer, offer - 1, std::memory_order_acquire, std::memory_order_relaxed));
    return static_cast<std::ptrdiff_t>(offer & left_mask);
  }

  void work(int member) {
    while (const std::ptrdiff_t left = claim(member)) {
      call_(context_, tasks_ - left, member);
      unfinished_.fetch_sub(1, std::memory_order_release);
    }
  }

  void serve(int member, std::atomic<std::uint32_t>& calls) {
    const FlushDenormals flush;  // as in every caller, so the bits do not depend on which thread runs a task
    while (true) {
      const std::uint32_t seen = calls.load(std::memory_order_acquire);
      if (retired_.load(std::memory_order_relaxed)) return;
      work(member);
      const auto called = [&] { return offered(member) || calls.load(std::memory_order_relaxed) != seen; };
      if (!spin_until(called, Microseconds(50))) calls.wait(seen, std::memory_order_acquire);
    }
  }

  /// Wakes the first `helpers` threads. The others stay asleep: without this, all threads of an earlier, larger team
  /// would wake up and poll at every call of a small one.
  void wake(std::size_t helpers) {
    for (std::size_t k = 0; k < std::min(helpers, threads_.size()); ++k) {
      threads_[k].calls.fetch_add(1, std::memory_order_release);
      threads_[k].calls.notify_one();
    }
  }

  /// Starts threads until the crew has `helpers`, or as many as the system allows.
  void hire(int helpers) {
    try {
      while (static_cast<int>(threads_.size()) < helpers) {
        const int member = static_cast<int>(threads_.size()) + 1;
        Helper& helper = threads_.emplace_back();
        helper.thread = std::thread([this, member, &helper] { serve(member, helper.calls); });
      }
    } catch (const std::exception&) {  // The caller and the existing threads do the work.
      if (!threads_.empty() && !threads_.back().thread.joinable()) threads_.pop_back();
    }
  }

  /// Ends the threads. The crew stays busy, so later callers work alone.
  void retire() {
    while (busy_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    retired_.store(true, std::memory_order_relaxed);
    wake(threads_.size());
    for (Helper& helper : threads_) helper.thread.join();
    threads_.clear();
  }

  alignas(64) std::atomic<std::uint64_t> offer_{0};
  alignas(64) std::atomic<std::ptrdiff_t> unfinished_{0};
  alignas(64) std::atomic<bool> retired_{false};
  std::atomic<bool> busy_{false};
  Call call_ = nullptr;
  void* context_ = nullptr;
  std::ptrdiff_t tasks_ = 0;
  std::deque<Helper> threads_;  // a deque does not move its elements
};

}  // namespace detail

/// The number of threads that a computation may use. A team is cheap to copy: the threads belong to the process, start
/// when they are first needed, sleep when idle and end with the process.
class Team {
 public:
  explicit Team(int size = 1) : size_(size < 1 ? 1 : size) {}

  int size() const { return size_; }

  /// Calls f(task) or f(task, member), 0 <= member < size(), for every task in [0, tasks), and returns when all are
  /// done. Tasks start in order, so a task may wait for an earlier one. A task must not throw; that would end the
  /// process. If the threads are busy with another caller, or if a task calls this, the caller runs all tasks itself.
  template <class F>
  void run(std::ptrdiff_t tasks, F&& f) const {
    using Function = std::remove_reference_t<F>;
    if (tasks <= 0) return;
    if (size_ > 1 && tasks > 1) {
      // NOLINTNEXTLINE(bugprone-exception-escape): a task that throws ends the process.
      const auto call = [](void* context, std::ptrdiff_t task, int member) noexcept {
        invoke(*static_cast<Function*>(context), task, member);
      };
      void* context = const_cast<void*>(static_cast<const void*>(std::addressof(f)));
      if (detail::Crew::instance().run(size_, tasks, call, context)) return;
    }
    for (std::ptrdiff_t task = 0; task < tasks; ++task) invoke(f, task, 0);
  }

 private:
  template <class F>
  static void invoke(F& f, std::ptrdiff_t task, int member) {
    if constexpr (std::is_invocable_v<F&, std::ptrdiff_t, int>) {
      f(task, member);
    } else {
      f(task);
    }
  }

  int size_;
};

}  // namespace zeroloss
