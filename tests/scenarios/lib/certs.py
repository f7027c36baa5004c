"""Certificates for tests, made by the openssl command."""
import subprocess
from pathlib import Path


def _openssl(*args, cwd):
    subprocess.run(["openssl", *map(str, args)], cwd=cwd, check=True, capture_output=True)


class Authority:
    """A root in a folder; `leaf(name, san)` gives (chain, key) as paths."""

    def __init__(self, folder, name="test root"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root, self.key = self.folder / "root.pem", self.folder / "root.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.key, "-out", self.root, "-days", "2", "-subj", f"/CN={name}",
                 "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign", cwd=self.folder)

    def leaf(self, name, san, days=1):
        """san as openssl writes it: "URI:spiffe://mesh.local/ns/shop/sa/web-sa" or "DNS:localhost"."""
        base = self.folder / name
        key, csr, chain, ext = (base.with_suffix(s) for s in (".key", ".csr", ".pem", ".ext"))
        ext.write_text(f"subjectAltName=critical,{san}\nbasicConstraints=critical,CA:FALSE\n"
                       "keyUsage=critical,digitalSignature\n"
                       "extendedKeyUsage=serverAuth,clientAuth\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                 key, "-out", csr, "-subj", "/", cwd=self.folder)
        _openssl("x509", "-req", "-in", csr, "-CA", self.root, "-CAkey", self.key, "-days", str(days),
                 "-CAcreateserial", "-extfile", ext, "-out", chain, cwd=self.folder)
        return chain, key
