"""Run the code beside this folder, whether or not it was pip-installed."""

import sys
import types
from pathlib import Path

package = types.ModuleType("softprompt")
package.__path__ = [str(Path(__file__).resolve().parents[1])]
sys.modules["softprompt"] = package
