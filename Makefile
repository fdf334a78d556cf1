# SPDX-License-Identifier: BSD-2-Clause
# make help lists the targets.
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
B := build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' $(1) $(2))

CFLAGS ?= -O2 -g
ALL_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -Iinclude -Iloader -Itests/unit \
	-I$(B) -MMD -MP $(CFLAGS)
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror \
	-Wno-unused-parameter -Wno-missing-declarations -D__bpf__ -I. -Iinclude -Ibpf \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu
LIBS := -lxdp -lbpf -lpcap -lmnl -lcjson -lcap-ng -lsystemd -lelf -lz

MAIN := loader/main.c $(wildcard loader/cmd_*.c) loader/daemon.c loader/show.c
LIB := $(filter-out $(MAIN),$(wildcard loader/*.c)) $(wildcard loader/callouts/*.c)
LIB_OBJ := $(LIB:%.c=$(B)/%.o)
MAIN_OBJ := $(MAIN:%.c=$(B)/%.o)
SKELS := $(B)/xdp_ingress.skel.h $(B)/inject.skel.h
C_TESTS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c tests/bpf/test_*.c))

DEPS := clang llvm gcc make pkg-config libbpf-dev libxdp-dev bpftool libpcap-dev \
	libmnl-dev libcjson-dev libcap-ng-dev libsystemd-dev libelf-dev zlib1g-dev \
	libcmocka-dev iproute2 ethtool tcpdump curl python3 python3-pytest \
	python3-scapy iputils-ping util-linux procps

.PHONY: all deps check check-unit check-net demo install clean help regen
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/xdivert ## build build/xdivert (the default)

$(B)/xdivert: $(MAIN_OBJ) $(LIB_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/%.o: %.c | $(SKELS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -c -o $@ $<

$(B)/%.bpf.o: bpf/%.bpf.c vmlinux.h $(wildcard bpf/*.h include/xdivert/*.h)
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

# The two halves of an injection handle share its ring.
$(B)/inject.linked.o: $(B)/inject.bpf.o $(B)/complete.bpf.o
$(B)/xdp_ingress.linked.o: $(B)/xdp_ingress.bpf.o
$(B)/%.linked.o:
	$(call say,BPF-LINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(B)/%.skel.h: $(B)/%.linked.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $* > $@

regen: ## regenerate vmlinux.h from the running kernel's BTF
	$(PYTHON) bpf/gen-vmlinux.py

$(B)/tests/%: tests/%.c $(LIB_OBJ)
	$(call say,TEST-CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $< $(LIB_OBJ) $(LDFLAGS) -lcmocka $(LIBS)

deps: ## install what is missing (Debian packages)
	@dpkg-query -W -f '$${db:Status-Status}\n' $(DEPS) 2>/dev/null | \
		grep -c '^installed' | grep -qx '$(words $(DEPS))' || \
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -q --no-install-recommends $(DEPS); }

check: deps ## all tests (root)
	@$(MAKE) --no-print-directory all check-unit check-net

check-unit: $(C_TESTS)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

check-net: $(B)/xdivert
	@$(PYTHON) -m pytest -q -p no:cacheprovider tests/net

demo: deps ## the main job on real traffic, in namespaces (root)
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/demo.py

install: all ## DESTDIR= PREFIX=/usr/local
	install -D -m 755 $(B)/xdivert $(DESTDIR)$(PREFIX)/sbin/xdivert

clean: ## remove build/
	rm -rf $(B)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d)
