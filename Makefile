# SPDX-License-Identifier: BSD-2-Clause
# make help lists the targets.
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
VERSION := 0.1.0
SONAME := libxdivert.so.0
B := build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' $(1) $(2))

CFLAGS ?= -O2 -g
# Instrumented code leaves gcc less sure of ranges: it warns where nothing is.
DEBUG_CFLAGS := -O1 -g -DXDIVERT_DEBUG -fsanitize=address,undefined \
	-fno-sanitize-recover=all -Wno-format-truncation
ALL_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -Iloader -Itests/unit \
	-I$(B) -MMD -MP -fvisibility=hidden -DXDIVERT_VERSION='"$(VERSION)"' $(CFLAGS)
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror \
	-Wno-unused-parameter -Wno-missing-declarations -D__bpf__ -I. -Iinclude -Ibpf \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu
LIB_LIBS := -lxdp -lbpf -lpcap -lmnl -lelf -lz -lpthread
LIBS := $(LIB_LIBS) -lcjson -lcap-ng -lsystemd

MAIN := loader/main.c $(wildcard loader/cmd_*.c) loader/daemon.c loader/active.c loader/show.c
LIB := $(filter-out $(MAIN),$(wildcard loader/*.c)) $(wildcard loader/callouts/*.c)
LIB_OBJ := $(LIB:%.c=$(B)/%.o)
MAIN_OBJ := $(MAIN:%.c=$(B)/%.o)
SKELS := $(B)/xdp_ingress.skel.h $(B)/tc_ingress.skel.h $(B)/tc_rest.skel.h $(B)/xdp_tap.skel.h \
	$(B)/inject.skel.h
C_TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c tests/bpf/test_*.c \
	tests/contract/test_*.c))

DEPS := clang llvm gcc g++ make pkg-config libbpf-dev libxdp-dev bpftool libpcap-dev \
	libmnl-dev libcjson-dev libcap-ng-dev libsystemd-dev libelf-dev zlib1g-dev \
	libcmocka-dev iproute2 iperf3 ethtool tcpdump curl python3 python3-pytest \
	python3-scapy iputils-ping util-linux procps mandoc man-db xdp-tools
VM_DEPS := qemu-system-x86 busybox-static cpio kmod xz-utils
VM_TESTS ?= all
# The captures that tests compare answers about, and the fuzzers' runtime.
DEPS += sip-tester libclang-rt-dev

.PHONY: all deps check check-unit check-debug check-fuzz fuzz check-net check-vm vm-deps vm-shell demo install uninstall clean help regen
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/xdivert $(B)/libxdivert.so $(B)/xdivert.pc ## build/xdivert and the library

# The command sees nothing of the library but its public functions.
$(B)/xdivert: $(MAIN_OBJ) $(B)/libxdivert.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/libxdivert.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@
	$(Q)$(LD) -r -o $(B)/libxdivert.o $^
	$(Q)objcopy --wildcard --keep-global-symbol='xdivert_*' $(B)/libxdivert.o
	$(Q)$(AR) rcs $@ $(B)/libxdivert.o

$(B)/libxdivert.so: $(LIB_OBJ) loader/libxdivert.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs \
		-Wl,--version-script=loader/libxdivert.map -o $@ $(LIB_OBJ) \
		$(LDFLAGS) $(LIB_LIBS)
	$(Q)ln -sf libxdivert.so $(B)/$(SONAME)

$(B)/xdivert.pc: loader/xdivert.pc.in Makefile
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' $< > $@

$(B)/%.o: %.c | $(SKELS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -c -o $@ $<

$(B)/%.bpf.o: bpf/%.bpf.c vmlinux.h $(wildcard bpf/*.h include/xdivert/*.h)
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

# The two halves of an injection handle share its ring.
$(B)/inject.linked.o: $(B)/inject.bpf.o $(B)/complete.bpf.o $(B)/neigh.bpf.o
$(B)/xdp_ingress.linked.o: $(B)/xdp_ingress.bpf.o
$(B)/tc_ingress.linked.o: $(B)/tc_ingress.bpf.o
$(B)/tc_rest.linked.o: $(B)/tc_rest.bpf.o
$(B)/xdp_tap.linked.o: $(B)/xdp_tap.bpf.o
$(B)/%.linked.o:
	$(call say,BPF-LINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(B)/%.skel.h: $(B)/%.linked.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@

regen: ## regenerate vmlinux.h from the running kernel's BTF
	$(PYTHON) bpf/gen-vmlinux.py

# The contract's tests share a topology.
$(B)/tests/contract/%: EXTRA = tests/contract/lab.c tests/contract/tally.c
$(filter $(B)/tests/contract/%,$(C_TESTS)): $(wildcard tests/contract/lab.* tests/contract/tally.*)

# Tests that compare answers about packets share the packets.
COMPARE := $(B)/tests/bpf/test_filter $(B)/tests/bpf/test_ruleset
$(COMPARE): EXTRA = tests/bpf/traffic.c
$(COMPARE): tests/bpf/traffic.c tests/bpf/traffic.h

# And so do those of the hooks.
HOOKS := $(B)/tests/bpf/test_hook $(B)/tests/bpf/test_tc
$(HOOKS): EXTRA = tests/bpf/hook_lab.c tests/bpf/hook_cases.c tests/bpf/hook_flows.c
$(HOOKS): $(wildcard tests/bpf/hook_*)

$(B)/tests/%: tests/%.c $(LIB_OBJ)
	$(call say,TEST-CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $< $(EXTRA) $(LIB_OBJ) $(LDFLAGS) -lcmocka $(LIBS)

# Debian packages, where one is missing.
install_packages = @dpkg-query -W -f '$${db:Status-Status}\n' $(1) 2>/dev/null | \
	grep -c '^installed' | grep -qx '$(words $(1))' || \
	{ apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -q --no-install-recommends $(1); }

deps: ## install what is missing (Debian packages)
	$(call install_packages,$(DEPS))

vm-deps: deps
	$(call install_packages,$(VM_DEPS))

check: deps ## all tests (root)
	@$(MAKE) --no-print-directory all check-unit check-debug check-fuzz check-net

check-unit: $(C_TESTS)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

# The same tests where memory errors, undefined behaviour and double frees abort.
check-debug:
	@$(MAKE) --no-print-directory B=build/debug CFLAGS='$(DEBUG_CFLAGS)' check-unit

check-net: all
	@$(PYTHON) -m pytest -q -p no:cacheprovider tests/net

check-vm: vm-deps ## all tests on Debian's kernel 6.1, emulated (VM_TESTS=core VM_KERNEL=6.12)
	@$(MAKE) --no-print-directory all bench-tools $(C_TESTS)
	@PYTHON=$(PYTHON) tests/vm/run test "$(VM_TESTS)"

vm-shell: vm-deps ## a shell there
	@$(MAKE) --no-print-directory all
	@tests/vm/run shell

demo: deps ## the main job on real traffic, in namespaces (root)
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/demo.py

install: all ## DESTDIR= PREFIX=/usr/local
	install -D -m 755 $(B)/xdivert $(DESTDIR)$(PREFIX)/sbin/xdivert
	install -D -m 755 $(B)/libxdivert.so $(DESTDIR)$(PREFIX)/lib/libxdivert.so.$(VERSION)
	ln -sf libxdivert.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libxdivert.so
	install -D -m 644 $(B)/libxdivert.a $(DESTDIR)$(PREFIX)/lib/libxdivert.a
	install -D -m 644 include/xdivert.h $(DESTDIR)$(PREFIX)/include/xdivert.h
	install -D -m 644 include/xdivert/abi.h $(DESTDIR)$(PREFIX)/include/xdivert/abi.h
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' loader/xdivert.pc.in \
		> $(DESTDIR)$(PREFIX)/lib/pkgconfig/xdivert.pc
	chmod 644 $(DESTDIR)$(PREFIX)/lib/pkgconfig/xdivert.pc
	install -D -m 644 man/xdivert.8 $(DESTDIR)$(PREFIX)/share/man/man8/xdivert.8
	install -D -m 644 man/libxdivert.3 $(DESTDIR)$(PREFIX)/share/man/man3/libxdivert.3
	$(if $(DESTDIR),,-ldconfig)

uninstall: ## what install put there
	cd $(DESTDIR)$(PREFIX) && rm -f sbin/xdivert lib/libxdivert.* \
		include/xdivert.h include/xdivert/abi.h lib/pkgconfig/xdivert.pc \
		share/man/man8/xdivert.8 share/man/man3/libxdivert.3
	-rmdir $(DESTDIR)$(PREFIX)/include/xdivert

clean: ## remove build/
	rm -rf $(B)

include bench/bench.mk
include tests/fuzz/fuzz.mk

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d)
