"""What people read when something went wrong or was done, in both languages.

Errors carry English messages for programs; here are the words for people, by the error's code. A code
that is not listed is told with its own message.
"""

from __future__ import annotations

from beira.kernel.errors import BeiraError, TooMany

Both = tuple[str, str]

ERRORS: dict[str, tuple[Both, Both]] = {
    "auth.wrong": (
        ("E-mail ou senha não conferem.", "E-mail or password is wrong."),
        (
            "Confira maiúsculas e o endereço. Esqueceu? Quem é dono cria um endereço para nova senha.",
            "Check capitals and the address. Forgotten? An owner can make you a link for a new one.",
        ),
    ),
    "auth.totp_needed": (
        ("Falta o código do aplicativo autenticador.", "The authenticator's code is needed."),
        ("Abra o aplicativo e digite os 6 números.", "Open the app and type its 6 digits."),
    ),
    "auth.totp_wrong": (
        ("O código não confere.", "The code is wrong."),
        (
            "Espere o próximo código do aplicativo, ou use um código de recuperação.",
            "Wait for the app's next code, or use a recovery code.",
        ),
    ),
    "auth.too_many": (
        ("Foram tentativas demais.", "Too many tries."),
        ("Espere um pouco e tente de novo.", "Wait a little, then try again."),
    ),
    "auth.no_tenant": (
        ("Esta conta não pertence a nenhuma empresa.", "This account belongs to no company."),
        ("Peça um convite a quem é dono.", "Ask an owner for an invitation."),
    ),
    "auth.password_weak": (
        ("A senha é fraca demais.", "The password is too weak."),
        ("Use pelo menos 10 caracteres, sem palavras óbvias.", "Use 10 characters or more."),
    ),
    "auth.recent_needed": (
        ("Confirme com a sua senha.", "Confirm with your password."),
        ("Digite a senha e tente de novo.", "Type your password and try again."),
    ),
    "auth.elsewhere": (
        ("As contas ficam na nuvem.", "Accounts are kept in the cloud."),
        ("Mude-as no portal da nuvem.", "Change them in the cloud's portal."),
    ),
    "auth.cloud_only": (
        ("Isto só se muda na nuvem.", "This is changed in the cloud only."),
        ("Entre no portal da nuvem.", "Sign in at the cloud's portal."),
    ),
    "invite.code_wrong": (
        ("Este convite não vale mais.", "This invitation no longer holds."),
        (
            "Ele pode ter sido usado ou ter vencido: peça outro.",
            "It may have been used or have expired: ask for another.",
        ),
    ),
    "recovery.code_wrong": (
        ("Este endereço não vale mais.", "This link no longer holds."),
        (
            "Ele vale uma vez, por 1 hora: peça outro a quem é dono.",
            "It holds once, for 1 hour: ask an owner for another.",
        ),
    ),
    "recovery.shared": (
        (
            "Esta conta não é só desta empresa.",
            "This account is not of this company alone.",
        ),
        (
            "Quem opera a nuvem define a senha dela: beira cloud reset-password E-MAIL.",
            "Whoever runs the cloud sets its password: beira cloud reset-password EMAIL.",
        ),
    ),
    "recovery.own": (
        ("Para si mesmo, não.", "Not for yourself."),
        (
            "Mude a sua senha em Conta, ou peça a outra pessoa que é dona.",
            "Change your password under Account, or ask another owner.",
        ),
    ),
    "identity.exists": (
        ("Já existe um com este nome.", "There is one by that name already."),
        ("Escolha outro.", "Choose another."),
    ),
    "identity.name_invalid": (
        ("O nome deve ter de 1 a 48 letras.", "A name has 1 to 48 characters."),
        ("Escreva um nome mais curto.", "Write a shorter name."),
    ),
    "identity.last_owner": (
        ("A empresa precisa de pelo menos um dono.", "A company needs an owner."),
        ("Torne outra pessoa dona primeiro.", "Make somebody else an owner first."),
    ),
    "unavailable": (
        ("O banco de dados não responde agora.", "The database does not answer now."),
        (
            "Nada se perdeu e os balcões seguem trabalhando. Esta página tenta de novo sozinha.",
            "Nothing was lost and the counters go on working. This page tries again by itself.",
        ),
    ),
    "denied": (
        ("Você não tem permissão para isto.", "You may not do that."),
        ("Peça a quem é dono da empresa.", "Ask an owner of the company."),
    ),
    "not_found": (
        ("Não há nada aqui.", "There is nothing here."),
        ("Volte ao início e procure de novo.", "Go back to the start and look again."),
    ),
    "portal.forged": (
        ("Este formulário não vale mais.", "This form no longer holds."),
        ("Volte, recarregue a página e envie de novo.", "Go back, reload the page, send it again."),
    ),
    "command.elsewhere": (
        ("Este comando roda em outro lugar.", "This command runs elsewhere."),
        ("Envie-o a um nó.", "Send it to a node."),
    ),
    "partition.denied": (
        ("Esta loja não está entre as suas.", "This site is not among yours."),
        ("Peça acesso a quem é dono.", "Ask an owner for access."),
    ),
    "quarantine.ended": (
        ("Alguém já cuidou deste registro.", "Somebody has dealt with this record."),
        ("Veja em “Resolvidos”.", "See it among the resolved."),
    ),
    "quarantine.busy": (
        ("Outra pessoa está cuidando dos recusados.", "Somebody else is at it."),
        ("Olhe de novo e tente mais uma vez.", "Look again, then try once more."),
    ),
    "quarantine.cut": (
        ("Nem tudo deste registro foi guardado.", "Not all of this record was kept."),
        (
            "Ele não pode ser admitido: leia o que há e descarte.",
            "It cannot be admitted: read what there is, then discard it.",
        ),
    ),
    "quarantine.node_gone": (
        ("O nó que o enviou não existe mais.", "The node that sent it is no more."),
        ("Leia o que há e descarte.", "Read what there is, then discard it."),
    ),
    "calendar.full": (
        ("Há horários demais.", "There are too many schedules."),
        ("Apague um que não serve mais.", "Delete one that is of no use."),
    ),
    "conflict.restored": (
        ("Alguém já restaurou este valor.", "Somebody has restored this value."),
        ("Veja em “Restaurados”.", "See it among the restored."),
    ),
    "internal": (
        ("Algo falhou aqui.", "Something failed here."),
        ("Tente de novo; o registro tem os detalhes.", "Try again; the log has the details."),
    ),
}

REFUSALS: dict[str, tuple[Both, Both]] = {
    "collection.unknown": (
        (
            "A nuvem não conhece este tipo de registro.",
            "The cloud does not know this kind of record.",
        ),
        (
            "Instale na nuvem o aplicativo que o nó usa, ou atualize a nuvem; depois admita de novo.",
            "Install the node's app in the cloud, or update the cloud; then admit it again.",
        ),
    ),
    "field.invalid": (
        ("Um campo tem um valor que não serve.", "A field has a value that does not fit."),
        ("Corrija o campo marcado e admita de novo.", "Mend the marked field and admit it again."),
    ),
    "partition.denied": (
        ("O nó não pode escrever nesse lugar.", "The node may not write to that place."),
        (
            "Se o nó mudou de loja, escolha a loja certa. Se não, descarte: pode ser um abuso.",
            "If the node moved, choose the right site. If not, discard it: it may be an abuse.",
        ),
    ),
    "flow.down": (
        ("Nós não escrevem este tipo de registro.", "Nodes do not write this kind of record."),
        (
            "Só a nuvem o escreve. Se o valor importa, mude-o na sua página; depois descarte.",
            "Only the cloud does. If the value matters, change it on its page; then discard this.",
        ),
    ),
    "stamp.forged": (
        ("Veio assinado em nome de outro nó.", "It came signed in another node's name."),
        (
            "Nunca é admitido. Confira se há uma cópia da máquina em uso; depois descarte.",
            "It is never admitted. See whether a copy of the machine is in use; then discard it.",
        ),
    ),
    "stamp.invalid": (
        ("A marca de tempo não é possível.", "Its time stamp cannot be."),
        ("Não pode ser admitido: leia-o e descarte.", "It cannot be admitted: read and discard."),
    ),
    "id.invalid": (
        ("O código do registro não é possível.", "The record's id cannot be."),
        ("Não pode ser admitido: leia-o e descarte.", "It cannot be admitted: read and discard."),
    ),
    "fact.immutable": (
        ("Um fato não se apaga.", "A fact is never deleted."),
        (
            "Escreva outro que o corrija (num ponto, “Corrigir”); depois descarte este.",
            "Write another that corrects it (for a punch, “Correct”); then discard this.",
        ),
    ),
    "fact.taken": (
        ("Outro nó já escreveu um fato com este código.", "Another node wrote a fact of this id."),
        (
            "Os dois existem em seus nós. Compare-os; se este conta, registre-o de novo e descarte.",
            "Compare the two; if this one counts, record it anew and discard this.",
        ),
    ),
    "partition.fixed": (
        (
            "Este registro já existe em outro lugar.",
            "This record exists already, at another place.",
        ),
        (
            "Um registro não muda de loja: escolha a loja em que ele está, ou descarte.",
            "A record never moves: choose the site it is at, or discard this.",
        ),
    ),
    "too_large": (
        ("É grande demais.", "It is too large."),
        ("Encurte o que for longo e admita de novo.", "Shorten what is long and admit it again."),
    ),
}

SYNC: dict[str, tuple[Both, Both]] = {
    "unavailable": (
        ("A nuvem não respondeu.", "The cloud did not answer."),
        (
            "Veja a internet da loja; o nó tenta sozinho.",
            "See the shop's link; it tries by itself.",
        ),
    ),
    "sync.busy": (
        ("A nuvem estava ocupada.", "The cloud was busy."),
        ("O nó volta sozinho.", "The node comes back by itself."),
    ),
    "node.duplicated": (
        ("Duas máquinas usam este nó.", "Two machines use this node."),
        ("Desligue a cópia; depois confirme aqui.", "Put the copy away, then confirm here."),
    ),
    "node.revoked": (
        ("O nó foi revogado.", "The node was revoked."),
        (
            "Para trazê-lo de volta, gere um código para ele.",
            "To have it back, make a code for it.",
        ),
    ),
    "node.replaced": (
        ("Outra máquina tomou o lugar deste nó.", "Another machine took this node's place."),
        ("Desligue a antiga.", "Put the old one away."),
    ),
    "disk.full": (
        ("O disco do nó está cheio.", "The node's disk is full."),
        ("Libere espaço; o que é crítico ainda é guardado.", "Make room; critical facts are kept."),
    ),
}
for _code in ("sync.closed", "sync.silent", "sync.stalled", "sync.no_welcome", "cloud.refused"):
    SYNC[_code] = (
        ("A ligação com a nuvem caiu.", "The link to the cloud was lost."),
        (
            "O nó volta sozinho; se continuar, veja a rede.",
            "It comes back; if not, see the network.",
        ),
    )

AUDIT: dict[str, Both] = {
    "sign_in": ("Entrou", "Signed in"),
    "signed_out": ("Saiu", "Signed out"),
    "signed_out_everywhere": ("Saiu de todos os lugares", "Signed out everywhere"),
    "refresh_reused": ("Sessão copiada: encerrada", "Copied session: ended"),
    "tenant_entered": ("Entrou na empresa", "Entered the company"),
    "tenant_created": ("Criou a empresa", "Made the company"),
    "first_owner": ("Primeiro dono", "First owner"),
    "invited": ("Convidou", "Invited"),
    "joined": ("Aceitou o convite", "Accepted the invitation"),
    "member_removed": ("Removeu da equipe", "Removed from the team"),
    "role_changed": ("Mudou o papel", "Changed the role"),
    "password_changed": ("Mudou a senha", "Changed the password"),
    "password_reset": ("Redefiniu a senha", "Reset the password"),
    "totp_on": ("Ligou as duas etapas", "Turned two-step on"),
    "totp_off": ("Desligou as duas etapas", "Turned two-step off"),
    "recovery": ("Usou um código de recuperação", "Used a recovery code"),
    "recovery_issued": ("Gerou um endereço para senha nova", "Made a link for a new password"),
    "password_recovered": ("Escolheu uma senha nova", "Chose a new password"),
    "node_duplicate_cleared": ("Confirmou que há uma máquina só", "Confirmed there is one machine"),
    "site_added": ("Criou a loja", "Made the site"),
    "site_changed": ("Mudou a loja", "Changed the site"),
    "enrol_code_made": ("Gerou um código de nó", "Made a node's code"),
    "node_enrolled": ("Nó entrou", "Node came in"),
    "node_renamed": ("Renomeou o nó", "Renamed the node"),
    "node_revoked": ("Revogou o nó", "Revoked the node"),
    "node_replaced": ("Trocou a máquina do nó", "Replaced the node's machine"),
    "node_duplicated": ("Duas máquinas com um nó", "Two machines with one node"),
    "quarantine_replayed": ("Admitiu um recusado", "Admitted a refused record"),
    "quarantine_discarded": ("Descartou um recusado", "Discarded a refused record"),
    "conflict_restored": ("Restaurou um valor", "Restored a value"),
    "calendar_changed": ("Mudou um horário de sincronização", "Changed a sync schedule"),
}

DONE: dict[str, Both] = {
    "saved": ("Salvo.", "Saved."),
    "added": ("Adicionado.", "Added."),
    "removed": ("Removido.", "Removed."),
    "sent": ("Enviado.", "Sent."),
    "seen": ("Anotado como visto.", "Noted as seen."),
    "revoked": ("Revogado: não entra mais.", "Revoked: it is shut out."),
    "renamed": ("Nome alterado.", "Renamed."),
    "password": (
        "Senha alterada. As outras sessões foram encerradas.",
        "Password changed. Your other sessions were ended.",
    ),
    "totp_on": ("Verificação em duas etapas ligada.", "Two-step verification is on."),
    "totp_off": ("Verificação em duas etapas desligada.", "Two-step verification is off."),
    "sessions": ("Sessão encerrada.", "Session ended."),
    "corrected": ("Ponto corrigido.", "Punch corrected."),
    "recovered": ("Senha nova salva. Agora entre.", "New password saved. Now sign in."),
    "joined": ("Pronto! Agora entre.", "Done! Now sign in."),
    "left": ("Você saiu.", "You have signed out."),
    "admitted": ("Admitido: já conta.", "Admitted: it counts from now on."),
    "discarded": ("Descartado.", "Discarded."),
    "restored": ("Restaurado: vale em todos os lugares.", "Restored: it holds everywhere."),
    "attended": ("Marcado como atendido.", "Marked as attended."),
    "given_up": ("Anotado: desistiu.", "Noted: given up."),
}


def told(error: BeiraError, language: str) -> tuple[str, str]:
    """The message and the next step of an error, in a language."""
    english = language != "pt-BR"
    known = ERRORS.get(error.code) or (
        ERRORS[error.default_code] if error.default_code in ("unavailable", "internal") else None
    )
    if known is None:
        return error.message, error.hint
    message, hint = known[0][english], known[1][english]
    if isinstance(error, TooMany):
        wait_s = max(1, round(error.retry_after_s))
        hint = f"Try again in {wait_s} s." if english else f"Tente de novo em {wait_s} s."
    return message, hint


def trouble(code: str, message: str, hint: str, language: str) -> tuple[str, str]:
    """A node's last error and the step to take, in a language; as the node says it where the code is
    not known."""
    known = SYNC.get(code)
    english = language != "pt-BR"
    return (known[0][english], known[1][english]) if known and message else (message, hint)


def refusal(code: str, language: str) -> tuple[str, str]:
    """Why a record was refused and what to do about it, in a language."""
    known = REFUSALS.get(code) or (
        ("A nuvem não pôde aceitá-lo.", "The cloud could not take it."),
        (
            "Leia o motivo abaixo; corrija e admita de novo, ou descarte.",
            "Read the reason below; mend and admit it again, or discard it.",
        ),
    )
    english = language != "pt-BR"
    return known[0][english], known[1][english]
