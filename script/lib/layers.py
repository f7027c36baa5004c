"""Checks src/LAYERS: which module includes which, and which library's headers appear where."""
import os
import re
import sys

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
GENERATED = (".pb-c.h",)


def read_layers():
    modules, libraries = {}, {}
    for line in tree.read("src/LAYERS").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, rest = line.partition(":")
        if name.startswith("!"):
            libraries[name[1:]] = rest.split()
        else:
            modules[name] = rest.split()
    return modules, libraries


def module_of(path, modules):
    """The longest module that the path (below src/) lies in."""
    parts = path.split("/")
    for n in range(len(parts) - 1, 0, -1):
        if "/".join(parts[:n]) in modules:
            return "/".join(parts[:n])
    return None


def check_order(modules):
    """Arrows point up the page only, which also rules out cycles."""
    seen = set()
    for name, uses in modules.items():
        for other in uses:
            if other not in seen:
                yield f"src/LAYERS:1: {name} may not use {other}, which does not stand above it"
        seen.add(name)


def allowed(module, owners):
    return any(module == o or module.startswith(o + "/") for o in owners)


def check_include(path, module, kind, target, modules, libraries):
    for prefix, owners in libraries.items():
        if target == prefix or (prefix.endswith("/") and target.startswith(prefix)):
            if not tree.is_test(path) and not allowed(module, owners):
                return f"{target} belongs to {', '.join(owners)} alone"
            return None
    if target.endswith(GENERATED):
        if not tree.is_test(path) and not allowed(module, ["mesh/xds"]):
            return f"generated header {target} belongs to mesh/xds alone"
        return None
    if kind == "<":
        return None
    if "/" not in target:
        own = os.path.join(os.path.dirname(path), target)
        if os.path.exists(os.path.join(tree.TOP, own)) and not target.endswith(".def"):
            return f'write "{own[4:]}", from src/'
        return None
    other = module_of(target, modules)
    if other is None:
        return f"{target} lies in no module of src/LAYERS"
    if other == module:
        return None
    if target.endswith("_priv.h"):
        return f"{target} is private to {other}"
    if other not in modules[module] and not tree.is_test(path):
        return f"{module} may not include {other} (src/LAYERS)"
    return None


def main():
    modules, libraries = read_layers()
    problems = list(check_order(modules))
    for path in tree.files("src", ".c", ".h"):
        module = module_of(path[4:], modules)
        if module is None:
            problems.append(f"{path}:1: lies in no module of src/LAYERS")
            continue
        source = tree.read(path)
        for m in INCLUDE.finditer(source):
            text = check_include(path, module, m.group(1), m.group(2), modules, libraries)
            if text:
                line = source.count("\n", 0, m.start(2)) + 1
                problems.append(f"{path}:{line}: {text}")
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


main()
