"""The exports of the component: a class for each interface of its world."""

import wit_world.exports

import admission
import roles
from admission import Exemption


class Lifecycle(wit_world.exports.Lifecycle):
    def describe(self):
        return roles.description(admission)

    def configure(self, settings):
        roles.configure(settings, admission)
