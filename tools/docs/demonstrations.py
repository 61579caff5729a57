"""An extension of Griffe, which reads the API: names under `if __name__ == "__main__"` are a demonstration's alone."""

import ast

import griffe


class Demonstrations(griffe.Extension):
    """Take the names that only a demonstration assigns out of a module."""

    def on_module_members(self, *, node: ast.AST | griffe.ObjectNode, mod: griffe.Module, **_: object) -> None:
        assert isinstance(node, ast.Module)
        begin = [part.lineno for part in node.body if isinstance(part, ast.If) and "__name__" in ast.dump(part.test)]
        for name, member in list(mod.members.items()):
            if begin and not member.is_alias and (member.lineno or 0) > begin[0]:
                del mod.members[name]
