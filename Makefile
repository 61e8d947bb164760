# SPDX-License-Identifier: Apache-2.0
# make help lists the targets. Variables: CC, V=1, PROFILE=0|1, SAN=address|thread, DESTDIR, PREFIX.

ifeq ($(origin CC),default)
CC      := gcc
endif
PROFILE ?= 1
SAN     ?=
V       ?= 0
PREFIX  ?= /usr/local

VERSION := 0.1.0
ARCH    := $(shell uname -m)
# One directory for each way to build, so that none has to be cleaned for another.
B       := build/$(notdir $(CC))$(if $(SAN),-$(SAN))$(if $(filter 0,$(PROFILE)),-noprofile)
Q       := $(if $(filter 1,$(V)),,@)

PKGS      := libsodium libmnl inih jansson liburcu-qsbr
TEST_PKGS := criterion
WARNINGS  := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
             -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough
CFLAGS    ?= -O2 -g
override CFLAGS += -std=gnu17 -pthread -fno-strict-aliasing -fstack-protector-strong $(WARNINGS) $(if $(WERROR),-Werror)
override CPPFLAGS += -I. -D_GNU_SOURCE -DSHARDTUN_VERSION='"$(VERSION)"' -DSHARDTUN_PROFILE=$(PROFILE) \
             $(if $(SAN),,-D_FORTIFY_SOURCE=2) $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
override LDFLAGS += -pthread -Wl,-z,relro,-z,now
LDLIBS    := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

ifeq ($(ARCH),x86_64)
override CPPFLAGS += -DHAVE_IPSEC_MB=1
LDLIBS += -lIPSec_MB
else
override CPPFLAGS += -DHAVE_IPSEC_MB=0
endif

ifeq ($(SAN),address)
override CFLAGS  += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
override LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SAN),thread)
override CFLAGS  += -fsanitize=thread -fno-omit-frame-pointer
override LDFLAGS += -fsanitize=thread
else ifneq ($(SAN),)
$(error SAN is "address" or "thread", not "$(SAN)")
else
# Not under the sanitizers: they bring an allocator of their own.
PROGRAM_LIBS := -ljemalloc
endif

LIB_SRCS     := $(wildcard core/base/*.c perf/record/*.c crypto/*.c tun/*.c core/*.c workers/*.c core/app/*.c perf/export/*.c config/*.c)
PROGRAM_SRCS := $(wildcard core/cmd/*.c)
UNIT_SRCS    := $(wildcard tests/unit/*.c)
HARNESS_SRCS := $(wildcard tests/harness/*.c)
STRESS_SRCS  := $(wildcard tests/stress/*.c)
BENCH_SRCS   := $(wildcard perf/bench/*.c)

LIB      := $(B)/libshardtun.a
PROGRAMS := $(PROGRAM_SRCS:core/cmd/%.c=$(B)/%)
STRESS   := $(STRESS_SRCS:tests/stress/%.c=$(B)/stress/%)
BENCHES  := $(BENCH_SRCS:perf/bench/%.c=$(B)/bench/%)
ALL_SRCS := $(LIB_SRCS) $(PROGRAM_SRCS) $(UNIT_SRCS) $(HARNESS_SRCS) $(STRESS_SRCS) $(BENCH_SRCS)
objects   = $(patsubst %.c,$(B)/obj/%.o,$(1))

.PHONY: all deps demo test unit life-cycle stress cli netns bench lint format install clean help programs
.DELETE_ON_ERROR:
.SECONDARY:

all: programs ## Build the programs (the default)

programs: $(PROGRAMS)

deps: ## Install the Debian packages that are missing (as root)
	$(Q)config/install-packages

demo: deps ## As root: a client and a gateway move real traffic in network namespaces
	$(Q)$(MAKE) --no-print-directory programs
	$(Q)tests/netns/demo

test: deps ## Everything: unit, life cycle under sanitizers, command line, namespaces (those as root)
	$(Q)$(MAKE) --no-print-directory all-tests

.PHONY: all-tests
all-tests: unit life-cycle stress cli netns

unit: $(B)/unit ## Unit tests
	$(Q)$(B)/unit --quiet

life-cycle: ## Gateway and client in one process, under ASan+UBSan and under TSan
	$(Q)$(MAKE) --no-print-directory SAN=address run-stress
	$(Q)$(MAKE) --no-print-directory SAN=thread run-stress

stress: run-stress ## The same without sanitizers
.PHONY: run-stress
run-stress: $(STRESS)
	$(Q)tests/run-tap $(STRESS)

cli: programs ## Command line, configuration and error messages
	$(Q)tests/cli/run $(B)

netns: programs ## Real namespaces, devices and traffic (as root)
	$(Q)tests/netns/run $(B)

bench: programs $(BENCHES) ## Throughput and micro-benchmarks
	$(Q)perf/bench/run $(B)

lint: ## Layers, layout, clang-tidy, shellcheck
	$(Q)tests/lint

format: ## Rewrite the layout with clang-format
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

install: programs ## Install under $(DESTDIR)$(PREFIX)
	$(Q)install -D -t $(DESTDIR)$(PREFIX)/sbin $(B)/shardtund
	$(Q)install -D -t $(DESTDIR)$(PREFIX)/bin $(B)/shardtun $(B)/shardtunctl
	$(Q)install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 config/man/*.8
	$(Q)install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 config/man/*.1
	$(Q)install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/shardtun README.md LICENSE config/examples/*.conf

clean: ## Remove everything that was built
	$(Q)rm -rf build

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(filter 1,$(V)),,@echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(call objects,$(LIB_SRCS))
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(PROGRAMS): $(B)/%: $(B)/obj/core/cmd/%.o $(LIB)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(PROGRAM_LIBS)

$(B)/unit: $(call objects,$(UNIT_SRCS) $(HARNESS_SRCS)) $(LIB)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(shell pkg-config --libs $(TEST_PKGS) 2>/dev/null)

$(STRESS): $(B)/stress/%: $(B)/obj/tests/stress/%.o $(call objects,$(HARNESS_SRCS)) $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BENCHES): $(B)/bench/%: $(B)/obj/perf/bench/%.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(PROGRAM_LIBS)

-include $(patsubst %.c,$(B)/obj/%.d,$(ALL_SRCS))
