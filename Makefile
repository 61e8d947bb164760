# SPDX-License-Identifier: Apache-2.0
# make help lists the targets. Variables: CC, CFLAGS, PKG_CONFIG, V=1, WERROR=1, PROFILE=0|1, OWNERS=0|1,
# SAN=address|thread|fuzz, FUZZ_SECONDS, DESTDIR, PREFIX.

ifeq ($(origin CC),default)
CC      := gcc
endif
PROFILE ?= 1
SAN     ?=
# Each change of what belongs to one thread is checked (core/base/owner.h).
OWNERS  ?= $(if $(SAN),1,0)
# Who writes to which cache line is recorded (tests/lines).
LINES   ?= 0
V       ?= 0
PREFIX  ?= /usr/local
# Sanitized code is built in two thirds of the time with -O1, and is as fast.
CFLAGS  ?= $(if $(SAN),-O1,-O2) -g
FUZZ_SECONDS ?= 10
comma   := ,

ifneq ($(filter-out 0 1,$(PROFILE)),)
$(error PROFILE is 0 or 1, not "$(PROFILE)")
endif
ifneq ($(filter-out 0 1,$(OWNERS)),)
$(error OWNERS is 0 or 1, not "$(OWNERS)")
endif
ifneq ($(filter-out address thread fuzz,$(SAN)),)
$(error SAN is "address", "thread" or "fuzz", not "$(SAN)")
endif

VERSION := 0.1.0
# One directory for each way to build, so that none has to be cleaned for another.
B       := build/$(subst $() $(),-,$(notdir $(CC)))$(if $(SAN),-$(SAN))$(if $(filter 0,$(PROFILE)),-noprofile)$(if $(SAN),,$(if $(filter 1,$(OWNERS)),-owners))$(if $(filter 1,$(LINES)),-lines)
Q       := $(if $(filter 1,$(V)),,@)
# The compiler says for which machine it builds. The libraries of another machine than this one are where Debian installs
# those of a second architecture.
TARGET  := $(shell $(CC) -dumpmachine 2>/dev/null)
MACHINE := $(firstword $(subst -, ,$(TARGET)))
CROSS   := $(filter-out $(shell uname -m),$(MACHINE))
ifeq ($(CROSS),)
PKG_CONFIG ?= pkg-config
else
PKG_CONFIG ?= PKG_CONFIG_LIBDIR=/usr/lib/$(TARGET)/pkgconfig:/usr/share/pkgconfig pkg-config
endif
# What runs other targets takes all CPUs, unless the user said how many.
JOBS     = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
MAKEFLAGS += --no-print-directory

PKGS     := libsodium libmnl jansson libmicrohttpd liburcu-qsbr liburcu-cds libnftables libqrencode libsystemd libseccomp libcap-ng libcares
# The gateway has no HTTP client and no TLS: libcurl is linked to the agent, and to the unit tests, alone.
AGENT    := libcurl
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
            -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough
DEFINES  := -I. -D_GNU_SOURCE -DSHARDTUN_VERSION='"$(VERSION)"' -DSHARDTUN_PROFILE=$(PROFILE) -DSHARDTUN_OWNERS=$(OWNERS)
# What is installed does not say where it was built.
COMPILE  := -std=gnu17 -pthread -fno-strict-aliasing -fstack-protector-strong -ffile-prefix-map=$(CURDIR)=.
LINK     := -pthread -Wl,-z,relro,-z,now
# All symbols are bound at the start: calls into libraries need no stubs, which cost cache lines where a thread has just slept.
COMPILE  += -fno-plt
LIBS     := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lm
# libsodium runs everywhere; intel-ipsec-mb is for x86-64 alone.
ifeq ($(MACHINE),x86_64)
DEFINES  += -DHAVE_IPSEC_MB=1
LIBS     += -lIPSec_MB
else
DEFINES  += -DHAVE_IPSEC_MB=0
endif

ifeq ($(SAN),)
DEFINES  += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
# Programs only, and not under the sanitizers: those bring an allocator of their own. By its soname, since Debian installs
# the link without a version for one architecture only.
MALLOC   := -l:libjemalloc.so.2
else
DEFINES  += -DSHARDTUN_SANITIZED
SANITIZE := $(if $(filter thread,$(SAN)),thread,$(if $(filter fuzz,$(SAN)),fuzzer-no-link$(comma))address$(comma)undefined)
COMPILE  += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
# gcc does not instrument the copies that it inlines.
COMPILE  += $(if $(filter thread,$(SAN)),$(addprefix -fno-builtin-,memcpy memmove memset memcmp))
endif
ALL_CPPFLAGS := $(DEFINES) $(shell $(PKG_CONFIG) --cflags $(PKGS) $(AGENT) 2>/dev/null) $(CPPFLAGS)
ALL_CFLAGS   := $(WARNINGS) $(CFLAGS) $(COMPILE)
ALL_LDFLAGS  := $(LINK) $(LDFLAGS)

LIB_SRCS     := $(wildcard $(addsuffix /*.c,core/base core/host perf/record crypto tun config core/protocol core/control core/cluster core/sessions workers core/handover perf/export perf/stgun core/daemon core/gateway core/client core/agent core/cli))
PROGRAM_SRCS := $(wildcard core/cmd/*.c)
UNIT_SRCS    := $(wildcard tests/unit/*.c)
RUNNER_SRCS  := $(wildcard tests/runner/*.c)
HARNESS_SRCS := $(wildcard tests/harness/*.c)
STRESS_SRCS  := $(filter-out $(if $(SAN),tests/stress/hot_path.c),$(wildcard tests/stress/*.c))
LINES_SRCS   := $(wildcard tests/lines/*.c)
BENCH_SRCS   := $(wildcard perf/bench/micro/*.c perf/bench/scenarios/*.c)
FUZZ_SRCS    := $(if $(filter fuzz,$(SAN)),$(wildcard tests/fuzz/*.c))
FARM_SRCS    := tests/netns/tools/client_farm.c tests/netns/tools/client_farm_pulse.c
NODE_SRCS    := tests/netns/tools/cluster_node.c
# A gateway that can be killed or stalled at each step of a take-over: these calls of the library's go through that file.
FAULTS_SRCS  := tests/netns/tools/takeover_faults.c
FAULTS_CALLS := channel_send channel_receive gateway_threads_freeze handover_export_finish handover_export_moved handover_read \
                handover_check_moved handover_follow gateway_network_serve notify_main_process
ALL_SRCS     := $(LIB_SRCS) $(PROGRAM_SRCS) $(UNIT_SRCS) $(RUNNER_SRCS) $(HARNESS_SRCS) $(STRESS_SRCS) $(BENCH_SRCS) $(FARM_SRCS) $(NODE_SRCS) $(FAULTS_SRCS) $(FUZZ_SRCS) $(LINES_SRCS)

LIB      := $(B)/libshardtun.a
PROGRAMS := $(PROGRAM_SRCS:core/cmd/%.c=$(B)/%)
STRESS   := $(STRESS_SRCS:tests/stress/%.c=$(B)/stress/%)
BENCHES  := $(addprefix $(B)/bench/,$(notdir $(BENCH_SRCS:.c=)))
FUZZERS  := $(FUZZ_SRCS:tests/fuzz/%.c=$(B)/fuzz/%)
objects   = $(patsubst %.c,$(B)/obj/%.o,$(1))

.PHONY: programs everything deps demo demo-cluster test unit life-cycle run-stress run-lines stress cli netns fuzz run-fuzz aarch64 model bench bench-quick lint format install \
        uninstall deb reports clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

programs: $(PROGRAMS) ## Build the programs (the default)

# Debian installs libcriterion-dev for one architecture only.
everything: $(PROGRAMS) $(if $(CROSS),,$(B)/unit) $(B)/unit_tap $(STRESS) $(BENCHES) $(B)/client_farm $(B)/cluster_node $(B)/shardtund_faults ## Build tests and benchmarks too

deps: ## Install the Debian packages that are missing (as root)
	$(Q)config/install-packages build test

# A make of its own after deps: flags come from pkg-config when make starts, and by then it knew none.
demo: deps ## As root: a client and a gateway move real traffic in network namespaces
	$(Q)$(MAKE) $(JOBS) programs
	$(Q)tests/netns/demo $(B)

demo-cluster: deps ## As root: three gateways behind one address, one of which is killed, in network namespaces
	$(Q)config/install-packages cluster
	$(Q)$(MAKE) $(JOBS) programs
	$(Q)BUILD=$(B) tests/demo-cluster

test: deps ## All tests, one kind after the other (those in namespaces as root)
	$(Q)[ "$$(id -u)" -ne 0 ] || config/install-packages monitor
	$(Q)for kind in unit life-cycle stress cli netns; do echo "== $$kind" && $(MAKE) $(JOBS) $$kind || exit; done

# Each test has a time limit of its own (tests/runner); that of run-tap comes long after.
unit: $(B)/unit_tap ## Unit tests
	$(Q)TAP_TIMEOUT=3600 tests/run-tap $(B)/unit_tap

life-cycle: ## Unit tests under ASan+UBSan; gateway and client in one process under these, and under TSan
	$(Q)$(MAKE) $(JOBS) SAN=address unit
	$(Q)$(MAKE) $(JOBS) SAN=address run-stress
	$(Q)$(MAKE) $(JOBS) SAN=thread run-stress
	$(Q)$(MAKE) $(JOBS) CC=gcc LINES=1 run-lines

stress: run-stress ## Gateway and client in one process, and concurrency tests, without sanitizers

run-stress: $(STRESS)
	$(Q)tests/run-tap $(STRESS)

# Only as make LINES=1 run-lines does it record anything.
run-lines: $(B)/cache_lines
	$(Q)tests/run-tap $(B)/cache_lines

cli: programs ## Command line, configuration and error messages
	$(Q)tests/cli/run $(B)
	$(Q)tests/cli/import $(B)
	$(Q)tests/cli/install $(B)
	$(Q)tests/cli/run-tap
	$(Q)tests/cli/figures
	$(Q)tests/cli/model
	$(Q)python3 -m unittest discover -q tests/peer

netns: programs $(B)/client_farm $(B)/cluster_node $(B)/shardtund_faults $(B)/bench/udp $(B)/bench/shares ## Real namespaces, devices and traffic (as root)
	$(Q)tests/netns/run $(B)

fuzz: ## Each parser and the whole tunnel against random input, FUZZ_SECONDS (10) each; needs clang
	$(Q)$(MAKE) $(JOBS) CC=clang SAN=fuzz run-fuzz

run-fuzz: $(FUZZERS)
	$(Q)tests/fuzz/run $(FUZZ_SECONDS) $(FUZZERS)

model: ## Have spin visit all states of the models: take-over, owner of a block, promises without etcd
	$(Q)tests/model/run

aarch64: ## Build for aarch64 with a cross compiler, and run the unit tests that qemu-user can run
	$(Q)$(MAKE) $(JOBS) CC=aarch64-linux-gnu-gcc WERROR=1 everything
	$(Q)tests/aarch64 build/aarch64-linux-gnu-gcc

bench: programs $(BENCHES) ## As root: beside the other tunnels that are installed; then micro-benchmarks
	$(Q)perf/bench/compare/run $(B)

bench-quick: programs $(B)/bench/udp ## The same in two minutes: fewer figures, one round, nothing to quote
	$(Q)QUICK=yes perf/bench/compare/run $(B)

lint: ## Layers, layout, clang-tidy, shellcheck
	$(Q)tests/lint $(ALL_CPPFLAGS) -std=gnu17

format: ## Rewrite the layout with clang-format
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

install: programs ## Install under $(DESTDIR)$(PREFIX)
	$(Q)DESTDIR='$(DESTDIR)' config/packaging/install-files install $(B) '$(PREFIX)'

uninstall: ## Remove what install put there
	$(Q)DESTDIR='$(DESTDIR)' config/packaging/install-files uninstall $(B) '$(PREFIX)'

deb: ## Debian packages, in build/deb
	$(Q)config/packaging/build-deb build/deb

reports: programs deb ## Have systemd-analyze and lintian judge, into config/systemd/SECURITY.txt and config/packaging/LINTIAN.txt
	$(Q)config/systemd/judge $(B) >$(B)/report && mv $(B)/report config/systemd/SECURITY.txt
	$(Q)config/packaging/judge build/deb >$(B)/report && mv $(B)/report config/packaging/LINTIAN.txt

clean: ## Remove everything that was built
	$(Q)rm -rf build

help: ## This list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Both are rewritten when their content changes: other flags rebuild all, a source that went away the library.
$(B)/flags: export CONTENT = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIBS)
$(B)/sources: export CONTENT = $(LIB_SRCS)
$(B)/flags $(B)/sources: FORCE
	@$(PKG_CONFIG) --exists --print-errors $(PKGS) $(AGENT) || { echo "make deps installs what is missing" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo "$$CONTENT" | cmp -s - $@ || echo "$$CONTENT" >$@

$(B)/obj/%.o: %.c Makefile $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(if $(WERROR),-Werror) -MMD -MP -c -o $@ $<

# It embeds the page, which the compiler's dependencies do not say.
$(B)/obj/perf/export/page.o: perf/export/page.html

$(LIB): $(call objects,$(LIB_SRCS)) $(B)/sources
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

$(PROGRAMS): $(B)/%: $(B)/obj/core/cmd/%.o $(LIB)
$(STRESS): $(B)/stress/%: $(B)/obj/tests/stress/%.o $(call objects,$(HARNESS_SRCS)) $(LIB)
$(foreach source,$(BENCH_SRCS),$(eval $(B)/bench/$(basename $(notdir $(source))): $(call objects,$(source))))
$(BENCHES): $(LIB)
$(FUZZERS): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(call objects,$(HARNESS_SRCS)) $(LIB)
$(B)/client_farm: $(call objects,$(FARM_SRCS) $(HARNESS_SRCS)) $(LIB)
$(B)/cluster_node: $(call objects,$(NODE_SRCS)) $(LIB)
$(B)/shardtund_faults: $(call objects,core/cmd/shardtund.c $(FAULTS_SRCS)) $(LIB)
$(B)/unit: $(call objects,$(UNIT_SRCS) $(HARNESS_SRCS)) $(LIB)
# The same tests without libcriterion; tests/unit/leaks.c is about its runner.
$(B)/unit_tap: $(call objects,$(RUNNER_SRCS) $(filter-out tests/unit/leaks.c,$(UNIT_SRCS)) $(HARNESS_SRCS)) $(LIB)

$(B)/cache_lines: $(call objects,$(LINES_SRCS) $(HARNESS_SRCS)) $(LIB)

# The library calls for each write, and tests/lines/recorder.c answers.
ifeq ($(LINES),1)
$(call objects,$(LIB_SRCS)): ALL_CFLAGS += -fsanitize=thread $(addprefix -fno-builtin-,memcpy memmove memset memcmp)
endif

$(PROGRAMS) $(BENCHES) $(B)/cache_lines: EXTRA_LIBS := $(MALLOC)
$(FUZZERS): EXTRA_LIBS := -fsanitize=fuzzer
$(B)/shardtund_faults: EXTRA_LIBS := $(MALLOC) $(FAULTS_CALLS:%=-Wl$(comma)--wrap=%)
$(B)/shardtunctl: EXTRA_LIBS += $(shell $(PKG_CONFIG) --libs ncursesw 2>/dev/null)
$(B)/unit: EXTRA_LIBS := $(shell $(PKG_CONFIG) --libs criterion 2>/dev/null)
$(B)/unit $(B)/unit_tap: EXTRA_LIBS += -Wl,--wrap=hot_woke
$(B)/shardtun-agent $(B)/unit $(B)/unit_tap: EXTRA_LIBS += $(shell $(PKG_CONFIG) --libs $(AGENT) 2>/dev/null)
$(PROGRAMS) $(STRESS) $(BENCHES) $(FUZZERS) $(B)/unit $(B)/unit_tap $(B)/client_farm $(B)/cluster_node $(B)/shardtund_faults $(B)/cache_lines:
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(EXTRA_LIBS)

-include $(patsubst %.c,$(B)/obj/%.d,$(ALL_SRCS))
